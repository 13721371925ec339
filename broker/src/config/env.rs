//! The environment: which variables are settings, which are a mistake, and which are nobody's.

use fanfare_engine::Namespaces;

use super::Assignment;
use super::key::{Key, nearest};
use super::mistake::{Mistake, Origin};

/// What the environment sets. Variables that begin with `FANFARE_` and are no settings are added
/// to `mistakes`, except `others`.
pub(super) fn read(
    variables: impl Iterator<Item = (String, String)>,
    others: &[String],
    mistakes: &mut Vec<Mistake>,
) -> Vec<Assignment> {
    let keys = Key::all(&Namespaces::default());
    let mut assignments = Vec::new();
    for (name, text) in variables {
        if !name.starts_with("FANFARE_") || others.contains(&name) || is_of_kubernetes(&name) {
            continue;
        }
        let origin = Origin::Environment(name.clone());
        match keys.iter().find(|key| key.variable().as_ref() == Some(&name)) {
            Some(key) => {
                let written = key.parse_text(&text);
                assignments.push(Assignment { key: key.clone(), written, origin });
            }
            None => {
                let nearest = nearest(&name, keys.iter().filter_map(Key::variable));
                mistakes.push(Mistake::Unknown { origin, name, nearest });
            }
        }
    }
    assignments
}

/// Whether Kubernetes sets a variable of this name in every pod beside a service that is called
/// `fanfare` or `fanfare-something`.
fn is_of_kubernetes(name: &str) -> bool {
    let is_address = |rest: &str| rest.is_empty() || rest.starts_with("_");
    ["_SERVICE_HOST", "_SERVICE_PORT", "_PORT"]
        .iter()
        .any(|part| name.split_once(part).is_some_and(|(_, rest)| is_address(rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(names: &[&str]) -> Vec<String> {
        let mut mistakes = Vec::new();
        let variables = names.iter().map(|name| ((*name).to_owned(), "1".to_owned()));
        let others = ["FANFARE_SERVER".to_owned()];
        let assignments = read(variables, &others, &mut mistakes);
        assert!(assignments.is_empty());
        mistakes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn variables_of_others_are_left_alone() {
        let none: Vec<String> = Vec::new();
        assert_eq!(mistakes(&["PATH", "FANFARE", "FANFARE_SERVER"]), none);
        let of_services = [
            "FANFARE_SERVICE_HOST",
            "FANFARE_SERVICE_PORT",
            "FANFARE_SERVICE_PORT_HTTP",
            "FANFARE_PORT",
            "FANFARE_PORT_8080_TCP",
            "FANFARE_PORT_8080_TCP_ADDR",
            "FANFARE_ADMIN_PORT_8081_TCP_PROTO",
        ];
        assert_eq!(mistakes(&of_services), none);
    }

    #[test]
    fn a_variable_that_is_nearly_a_setting_is_a_mistake() {
        assert_eq!(
            mistakes(&["FANFARE_LIMITS_STALL_TIMOUT"]),
            ["FANFARE_LIMITS_STALL_TIMOUT: there is no setting FANFARE_LIMITS_STALL_TIMOUT; did \
              you mean FANFARE_LIMITS_STALL_TIMEOUT?"]
        );
        assert_eq!(mistakes(&["FANFARE_NAMESPACES_STOCKS_LATEST"]).len(), 1);
    }
}
