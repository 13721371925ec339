//! The Helm chart: what helm says of it, and whether the objects that it makes fit each other and
//! the program.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::{FOLDER, fanfare, scratch};
use crate::command::{output, program};
use crate::counted::Checks;
use crate::stage::Context;

const CHART: &str = "helm/fanfare";

/// Values that turn everything on.
const FULL: &str = ".ci/xtask/src/packaging/full-values.yaml";

/// The oldest Kubernetes that the chart is for.
const KUBERNETES: &str = "1.30.0";

/// The objects that the chart makes by default, and those that it can make beside them.
const KINDS: [&str; 5] = ["ConfigMap", "Deployment", "PodDisruptionBudget", "Service", "Service"];
const MORE_KINDS: [&str; 2] = ["Ingress", "ServiceMonitor"];

/// Values that the schema has to refuse, each with what helm must name.
const WRONG: [(&str, &str); 5] = [
    ("replicaCount=-1", "replicaCount"),
    ("ingres.enabled=true", "ingres"),
    ("service.port=99999", "port"),
    ("serviceMonitor.interval=soon", "interval"),
    ("image.repository=", "repository"),
];

/// Has helm read the chart, and looks at what it makes with few values and with all.
pub(super) fn check(context: &Context, helm: &Path, checks: &mut Checks) {
    let full = context.root.join(FULL);
    let full = full.to_string_lossy();
    for (name, values) in [("defaults", &[][..]), ("everything on", &["--values", &full][..])] {
        let lint = helm_on_chart(context, helm, &["lint", "--strict"], values).map(drop);
        checks.one(&format!("helm lints the chart with {name}"), lint);
        let objects = match objects(context, helm, values) {
            Ok(objects) => objects,
            Err(error) => {
                checks.one(&format!("helm renders the chart with {name}"), Err(error));
                continue;
            }
        };
        let more = if values.is_empty() { &[][..] } else { &MORE_KINDS };
        let judged = [
            ("makes the objects that it should", has_kinds(&objects, more)),
            ("makes objects that find each other", fit(&objects)),
            ("has a configuration that the broker takes", is_taken(context, &objects)),
            ("waits longer than a drain takes", waits(context, &objects)),
        ];
        for (what, result) in judged {
            checks.one(&format!("the chart with {name} {what}"), result);
        }
    }
    for (value, named) in WRONG {
        checks.one(&format!("the schema refuses {value}"), is_refused(context, helm, value, named));
    }
}

fn helm_on_chart(
    context: &Context,
    helm: &Path,
    command: &[&str],
    values: &[&str],
) -> anyhow::Result<String> {
    let mut run = program(context, helm);
    run.args(command).arg(context.root.join(FOLDER).join(CHART)).args(values);
    output(run.args(["--kube-version", KUBERNETES]))
}

/// What the chart makes, as a release with the name `r`.
fn objects(context: &Context, helm: &Path, values: &[&str]) -> anyhow::Result<Vec<Value>> {
    let text = helm_on_chart(context, helm, &["template", "r"], values)?;
    let objects: Vec<Value> = serde_saphyr::from_multiple(&text)?;
    for object in &objects {
        let has = |field: &str| object.pointer(field).is_some_and(Value::is_string);
        let is_whole = ["/apiVersion", "/kind", "/metadata/name"].into_iter().all(has);
        ensure!(is_whole, "no object of Kubernetes: {object}");
    }
    Ok(objects)
}

fn has_kinds(objects: &[Value], more: &[&str]) -> anyhow::Result<()> {
    let mut kinds: Vec<&str> =
        objects.iter().filter_map(|object| object["kind"].as_str()).collect();
    let mut expected = [&KINDS[..], more].concat();
    kinds.sort_unstable();
    expected.sort_unstable();
    ensure!(kinds == expected, "it makes {kinds:?}");
    Ok(())
}

fn one<'a>(objects: &'a [Value], kind: &str) -> anyhow::Result<&'a Value> {
    objects.iter().find(|object| object["kind"] == kind).with_context(|| format!("no {kind}"))
}

/// Whether selectors select, ports are there, and what is mounted is made.
fn fit(objects: &[Value]) -> anyhow::Result<()> {
    let pod = &one(objects, "Deployment")?["spec"]["template"];
    let container = &pod["spec"]["containers"][0];
    let port_of_pod = |port: &Value| named(&container["ports"], port);
    for object in objects {
        let (kind, spec) = (object["kind"].as_str().unwrap_or_default(), &object["spec"]);
        match kind {
            "Deployment" | "PodDisruptionBudget" => {
                ensure!(selects(&spec["selector"]["matchLabels"], pod), "{kind} selects no pod");
            }
            "Service" => {
                ensure!(selects(&spec["selector"], pod), "a service selects no pod");
                let target = &spec["ports"][0]["targetPort"];
                ensure!(port_of_pod(target), "pods have no port {target}");
            }
            "ServiceMonitor" => {
                let is_it = |service: &&Value| {
                    service["kind"] == "Service"
                        && selects(&spec["selector"]["matchLabels"], service)
                        && named(&service["spec"]["ports"], &spec["endpoints"][0]["port"])
                };
                let count = objects.iter().filter(is_it).count();
                ensure!(count == 1, "it monitors {count} services");
            }
            "Ingress" => {
                let backend = &spec["rules"][0]["http"]["paths"][0]["backend"]["service"];
                let is_it = |service: &Value| {
                    service["kind"] == "Service"
                        && service["metadata"]["name"] == backend["name"]
                        && named(&service["spec"]["ports"], &backend["port"]["name"])
                };
                ensure!(objects.iter().any(is_it), "the ingress leads nowhere");
            }
            _ => {}
        }
    }
    let config = &one(objects, "ConfigMap")?["metadata"]["name"];
    let mounted = &pod["spec"]["volumes"][0]["configMap"]["name"];
    ensure!(mounted == config, "{mounted} is mounted and {config} is made");
    Ok(())
}

/// Whether an object has all these labels; at least one.
fn selects(labels: &Value, object: &Value) -> bool {
    let has = |(label, value): (&String, &Value)| object["metadata"]["labels"][label] == *value;
    labels.as_object().is_some_and(|labels| !labels.is_empty() && labels.iter().all(has))
}

fn named(ports: &Value, name: &Value) -> bool {
    let ports = ports.as_array().map_or(&[][..], Vec::as_slice);
    name.is_string() && ports.iter().any(|port| port["name"] == *name)
}

/// What the broker makes of the rendered file in the environment of its container.
fn effective(context: &Context, objects: &[Value]) -> anyhow::Result<String> {
    let text = one(objects, "ConfigMap")?["data"]["fanfare.toml"].as_str().context("no file")?;
    let file = scratch(context)?.join("chart.toml");
    fs::write(&file, text)?;
    let container = &one(objects, "Deployment")?["spec"]["template"]["spec"]["containers"][0];
    let mut check = program(context, fanfare(context));
    check.args(["config", "check"]).arg(file);
    for variable in container["env"].as_array().into_iter().flatten() {
        let text = |field: &str| variable[field].as_str().context("a variable is a text");
        check.env(text("name")?, text("value")?);
    }
    output(&mut check)
}

fn is_taken(context: &Context, objects: &[Value]) -> anyhow::Result<()> {
    let effective = effective(context, objects)?;
    for expected in ["listen = \"0.0.0.0:8080\"", "admin_listen = \"0.0.0.0:8081\""] {
        let is_there = effective.lines().any(|line| line.starts_with(expected));
        ensure!(is_there, "no {expected} in\n{effective}");
    }
    Ok(())
}

/// Whether Kubernetes kills no pod whose broker still drains.
fn waits(context: &Context, objects: &[Value]) -> anyhow::Result<()> {
    let effective = effective(context, objects)?;
    let drain = effective.lines().find_map(|line| line.strip_prefix("drain_timeout = \""));
    let drain = drain.and_then(|rest| rest.split_once("s\"")?.0.parse::<u64>().ok());
    let drain = drain.context("no drain timeout in seconds")?;
    let pod = &one(objects, "Deployment")?["spec"]["template"]["spec"];
    let seconds = |pointer: &str| pod.pointer(pointer).and_then(Value::as_u64);
    let sleep = seconds("/containers/0/lifecycle/preStop/sleep/seconds").unwrap_or(0);
    let grace = seconds("/terminationGracePeriodSeconds").context("no grace period")?;
    ensure!(grace > drain + sleep, "it waits {grace} s, and a stop takes {sleep} and {drain}");
    Ok(())
}

fn is_refused(context: &Context, helm: &Path, value: &str, named: &str) -> anyhow::Result<()> {
    let mut template = program(context, helm);
    template.args(["template", "r"]).arg(context.root.join(FOLDER).join(CHART));
    let run = template.args(["--kube-version", KUBERNETES, "--set", value]).output()?;
    let said = String::from_utf8_lossy(&run.stderr);
    let is_it = said.contains("schema") && said.contains(named);
    ensure!(!run.status.success() && is_it, "helm said: {said}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_is_selected_by_all_labels_or_not_at_all() {
        let pod = json!({ "metadata": { "labels": { "a": "1", "b": "2" } } });
        assert!(selects(&json!({ "a": "1" }), &pod));
        assert!(!selects(&json!({ "a": "1", "c": "3" }), &pod));
        assert!(!selects(&json!({ "a": "2" }), &pod));
        assert!(!selects(&json!({}), &pod) && !selects(&Value::Null, &pod));
    }

    #[test]
    fn a_monitor_that_finds_no_service_does_not_fit() {
        let labels = json!({ "app": "f" });
        let pod = json!({
            "metadata": { "labels": labels },
            "spec": {
                "containers": [{ "ports": [{ "name": "admin" }] }],
                "volumes": [{ "configMap": { "name": "c" } }],
            },
        });
        let service = json!({
            "kind": "Service", "metadata": { "labels": labels },
            "spec": { "selector": labels, "ports": [{ "name": "admin", "targetPort": "admin" }] },
        });
        let deployment = json!({
            "kind": "Deployment",
            "spec": { "selector": { "matchLabels": labels }, "template": pod },
        });
        let config = json!({ "kind": "ConfigMap", "metadata": { "name": "c" } });
        let monitor = |app: &str| {
            json!({ "kind": "ServiceMonitor", "spec": {
                "selector": { "matchLabels": { "app": app } }, "endpoints": [{ "port": "admin" }],
            } })
        };
        let objects = vec![deployment, service, config];
        let with = |object: Value| [objects.clone(), vec![object]].concat();
        fit(&with(monitor("f"))).unwrap();
        let error = fit(&with(monitor("g"))).unwrap_err();
        assert_eq!(error.to_string(), "it monitors 0 services");
    }
}
