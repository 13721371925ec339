//! Images and the compose file: what hadolint and compose say of them. No image is built here,
//! which would need a Docker engine.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use super::FOLDER;
use crate::command::{output, program};
use crate::counted::Checks;
use crate::stage::Context;

const COMPOSE: &str = "dashboards/compose.yml";

/// Has hadolint read the Dockerfile, and the one inside the compose file.
pub(super) fn check(context: &Context, hadolint: &Path, checks: &mut Checks) {
    let dockerfile = context.root.join(FOLDER).join("Dockerfile");
    let text = fs::read_to_string(&dockerfile).context("Dockerfile");
    let linted = text.and_then(|text| lint(context, hadolint, &text));
    checks.one("hadolint has no word for the Dockerfile", linted);
    let inside = compose(context).and_then(|compose| {
        let text = compose.pointer("/services/broker/build/dockerfile_inline");
        lint(context, hadolint, text.and_then(Value::as_str).context("no Dockerfile inside")?)
    });
    checks.one("hadolint has no word for the Dockerfile of compose", inside);
    let wrong = "FROM debian\nRUN cd /tmp && sudo true\n";
    let found = match lint(context, hadolint, wrong) {
        Ok(()) => Err(anyhow::anyhow!("it said nothing")),
        Err(_) => Ok(()),
    };
    checks.one("hadolint finds what is wrong", found);
}

fn lint(context: &Context, hadolint: &Path, text: &str) -> anyhow::Result<()> {
    let mut child = program(context, hadolint)
        .args(["--no-color", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start hadolint")?;
    // Dropped at once, so that it reads the end.
    child.stdin.take().context("no way in")?.write_all(text.as_bytes())?;
    let run = child.wait_with_output()?;
    ensure!(run.status.success(), "{}", String::from_utf8_lossy(&run.stdout).trim());
    Ok(())
}

/// Has compose read its file where compose is here, and looks at what it names in any case.
pub(super) fn check_compose(context: &Context, checks: &mut Checks) {
    let mut version = program(context, "docker");
    version.args(["compose", "version"]).stdout(Stdio::null()).stderr(Stdio::null());
    if version.status().is_ok_and(|status| status.success()) {
        let mut config = program(context, "docker");
        config.args(["compose", "--file", COMPOSE, "--profile", "*", "config", "--quiet"]);
        checks.one("compose reads its file", output(&mut config).map(drop));
    } else {
        println!("compose is not here; its file is parsed, and what it names is looked up");
    }
    let named = compose(context).and_then(|compose| check_named(context, &compose));
    checks.one("what the compose file names is there", named);
}

fn compose(context: &Context) -> anyhow::Result<Value> {
    let text = fs::read_to_string(context.root.join(COMPOSE)).context(COMPOSE)?;
    Ok(serde_saphyr::from_str(&text)?)
}

/// Every service has an image of a fixed version or makes one, and mounts what is there.
fn check_named(context: &Context, compose: &Value) -> anyhow::Result<()> {
    let services = compose["services"].as_object().context("no services")?;
    let made: Vec<&Value> = services
        .values()
        .filter(|service| service["build"].is_object())
        .map(|service| &service["image"])
        .collect();
    for (name, service) in services {
        let image = service["image"].as_str().with_context(|| format!("{name} has no image"))?;
        let is_fixed = image.split_once(':').is_some_and(|(_, tag)| tag != "latest");
        ensure!(is_fixed || made.contains(&&service["image"]), "{name}: {image} may be any");
        for volume in service["volumes"].as_array().into_iter().flatten() {
            let Some((here, _)) = volume.as_str().and_then(|volume| volume.split_once(':')) else {
                bail!("{name}: {volume} mounts nothing of ours");
            };
            let place = context.root.join("dashboards").join(here);
            ensure!(place.exists(), "{name}: there is no {}", place.display());
        }
    }
    Ok(())
}
