//! Configurations as people write them, and what becomes of them.

use std::sync::atomic::{AtomicUsize, Ordering};

use documented::DocumentedFields;
use fanfare_engine::{Limits, NamespaceOptions, Namespaces, SlowConsumer};
use fanfare_protocol::Mode;
use proptest::prelude::*;

use super::*;
use crate::logs::LogOptions;

/// A file of this process with this content, gone at the end.
struct TempFile(PathBuf);

impl TempFile {
    fn new(content: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("fanfare-config-{}-{count}.toml", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, content).unwrap();
        Self(path)
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// What this file, these variables and these settings by flag come to. In errors the file is FILE.
fn load(
    file: &str,
    variables: &[(&str, &str)],
    flags: &[(&str, &str)],
) -> Result<Configuration, String> {
    let file = TempFile::new(file);
    let flags = flags.iter().map(|(key, text)| Flag {
        name: format!("--set {key}"),
        key: (*key).to_owned(),
        text: (*text).to_owned(),
    });
    let source = Source { file: Some(file.0.clone()), flags: flags.collect(), ..Source::default() };
    let variables = variables.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    let result = source.load_with(variables);
    result.map_err(|error| error.to_string().replace(&*file.0.to_string_lossy(), "FILE"))
}

fn limits(file: &str) -> Limits {
    load(file, &[], &[]).unwrap().server.limits
}

#[test]
fn namespaces_take_what_they_leave_open_from_the_default() {
    let limits = limits(
        r#"
        [limits]
        stall_timeout = "2m"
        outbox_high_water = "128KiB"

        [namespaces.audit]
        slow_consumer = "disconnect"
        history_size = 4096

        [namespaces.default]
        history_messages = 50

        [namespaces.stocks]
        latest = true
        mode = "latest"
        history_age = "1h"
        "#,
    );
    assert_eq!((limits.stall_timeout_ms, limits.outbox_high_water_bytes), (120_000, 131_072));
    let stocks = limits.namespaces.of("stocks.A");
    assert_eq!((stocks.latest, stocks.mode, stocks.history_messages), (true, Mode::Latest, 50));
    assert_eq!(stocks.history_age_ms, 3_600_000);
    let audit = limits.namespaces.of("audit.x");
    assert_eq!((audit.slow_consumer, audit.history_bytes), (SlowConsumer::Disconnect, 4_096));
    assert_eq!(limits.namespaces.of("other").history_messages, 50);
}

#[test]
fn a_flag_goes_before_the_environment_and_that_before_the_file() {
    let file = "listen = \"127.0.0.1:1\"\nadmin_listen = \"127.0.0.1:1\"\nshards = 1\n\
                [namespaces.a]\nlatest = true\n[namespaces.default]\nhistory_messages = 1";
    let variables = [
        ("FANFARE_ADMIN_LISTEN", "127.0.0.1:2"),
        ("FANFARE_SHARDS", "2"),
        ("FANFARE_NAMESPACES_DEFAULT_HISTORY_MESSAGES", "2"),
        ("FANFARE_ALLOWED_ORIGINS", "https://a.example, null"),
    ];
    let flags = [("shards", "3"), ("namespaces.a.presence", "true")];
    let configuration = load(file, &variables, &flags).unwrap();
    let server = &configuration.server;
    assert_eq!((server.listen.port(), server.admin_listen.port()), (1, 2));
    assert_eq!(server.shards.map(usize::from), Some(3));
    assert_eq!(server.allowed_origins, ["https://a.example", "null"]);
    let options = server.limits.namespaces.of("a.x");
    assert_eq!((options.latest, options.presence, options.history_messages), (true, true, 2));
    let shown = configuration.effective();
    for line in [
        "# --set shards",
        "= \"127.0.0.1:2\"",
        "# FANFARE_ADMIN_LISTEN",
        ".toml:1\n",
        "[namespaces.a]\nhistory_messages = 2                     # FANFARE_NAMESPACES_DEFAULT_H",
        "presence = true                          # --set namespaces.a.presence\n",
        "\nmode = \"all\"\n",
    ] {
        assert!(shown.contains(line), "{line} in\n{shown}");
    }
}

#[test]
fn all_mistakes_are_told_at_once_each_with_its_place_and_what_is_allowed() {
    let file = r#"listne = "127.0.0.1:1"
shards = 0
allowed_origins = ["app.example"]
[limits]
stall_timeout = "soon"
outbox_max = "big"
topics = -1
[namespaces.a]
latests = true
mode = "newest"
history_age = "1us"
[namespaces."a.b"]
latest = true
[namespace.c]
latest = true
"#;
    let variables = [("FANFARE_LIMITS_OUTBOX_TOTL", "1MiB"), ("FANFARE_SHARDS", "many")];
    let flags = [("limits.ping_intervall", "1s"), ("namespaces.a b.latest", "true")];
    let error = load(file, &variables, &flags).unwrap_err();
    let expected = [
        "15 mistakes in the configuration:",
        "  FILE:1: there is no setting listne; did you mean listen?",
        "  FILE:9: there is no setting namespaces.a.latests; did you mean namespaces.a.latest?",
        "  FILE:12: \"a.b\" is no namespace; use the first level of topic names, as `stocks`",
        "  FILE:14: there is no setting namespace; did you mean ",
        "  FANFARE_LIMITS_OUTBOX_TOTL: there is no setting FANFARE_LIMITS_OUTBOX_TOTL; did you \
         mean FANFARE_LIMITS_OUTBOX_TOTAL?",
        "  --set limits.ping_intervall: there is no setting limits.ping_intervall; did you mean \
         limits.ping_interval?",
        "  --set namespaces.a b.latest: \"a b\" is no namespace;",
        "  FILE:10: namespaces.a.mode = \"newest\": use \"all\" or \"latest\"",
        "  FILE:11: namespaces.a.history_age = \"1us\": use a duration such as \"500ms\"",
        "  FILE:3: allowed_origins = [\"app.example\"]: use origins without a path",
        "  FILE:5: limits.stall_timeout = \"soon\": use a duration such as \"500ms\"",
        "  FILE:6: limits.outbox_max = \"big\": use a size such as 4096",
        "  FILE:7: limits.topics = -1: use a number from 1 on",
        "  FILE:2: shards = 0: use a number from 1 to 1024, or \"auto\"",
        "  FANFARE_SHARDS: shards = \"many\": use a number from 1 to 1024",
    ];
    for line in expected {
        assert!(error.lines().any(|l| l.starts_with(line)), "{line} in\n{error}");
    }
    assert_eq!(error.lines().count(), expected.len(), "{error}");
}

#[test]
fn what_is_no_toml_is_told_with_its_line() {
    let error = load("shards = 1\n[limits\nshards = = 2\n", &[], &[]).unwrap_err();
    assert!(error.contains("FILE:2: ") && error.contains("FILE:3: "), "{error}");
    for (file, says) in [
        ("limits = 3", "FILE:1: limits = 3: use a table of settings"),
        ("[namespaces]\na = true", "FILE:2: namespaces.a = true: use a table of settings"),
        ("[listen]\nx = 1", "FILE:1: listen = { x = 1 }: use an IP address with a port"),
        ("shards = 1\nshards = 2", "FILE:2: duplicate key"),
        ("[limits]\nstall_timeout = 30", "FILE:2: limits.stall_timeout = 30: use a duration"),
    ] {
        let error = load(file, &[], &[]).unwrap_err();
        assert!(error.starts_with(says), "{error}");
    }
    let missing = Source { file: Some("no-such-file.toml".into()), ..Source::default() };
    let error = missing.load().unwrap_err().to_string();
    assert!(error.starts_with("cannot read no-such-file.toml: "), "{error}");
}

#[test]
fn contradictions_name_the_settings_and_where_they_are_from() {
    let error = load(
        "[limits]\noutbox_high_water = \"1MiB\"",
        &[("FANFARE_LIMITS_OUTBOX_LOW_WATER", "2MiB")],
        &[],
    );
    assert_eq!(
        error.unwrap_err(),
        "the outbox's marks must rise: low water 2097152, high water 1048576, hard limit 1048576 \
         (limits.outbox_high_water from FILE:2, limits.outbox_low_water from \
         FANFARE_LIMITS_OUTBOX_LOW_WATER, limits.outbox_max from default)"
    );
}

#[test]
fn the_reference_file_holds_the_defaults_and_every_setting() {
    let file = default_file();
    let configuration = load(&file, &[], &[]).unwrap();
    assert_eq!(values(&configuration.server), values(&ServerConfig::default()));
    let keys = Key::all(&Namespaces::default());
    assert_eq!(configuration.origins.len(), keys.len());
    assert!(file.lines().all(|line| line.chars().count() <= 96), "{file}");
}

#[test]
fn every_limit_and_option_is_a_setting_and_says_why() {
    let missing = |fields: &[&'static str], known: Vec<&str>| {
        let mut fields = fields.to_vec();
        fields.retain(|field| !known.contains(field));
        fields
    };
    let server: Vec<&str> = SERVER.iter().map(|setting| setting.field).collect();
    assert_eq!(missing(Limits::FIELD_NAMES, server.clone()), ["namespaces"]);
    assert_eq!(missing(ServerConfig::FIELD_NAMES, server.clone()), ["log", "limits"]);
    assert_eq!(missing(LogOptions::FIELD_NAMES, server), [""; 0]);
    let namespace = settings::NAMESPACE.iter().map(|setting| setting.field).collect();
    assert_eq!(missing(NamespaceOptions::FIELD_NAMES, namespace), [""; 0]);
    for key in Key::all(&Namespaces::default()) {
        assert!(key.meaning().ends_with('.') && key.meaning().len() > 30, "{}", key.name());
    }
}

#[test]
fn the_kept_reference_is_the_generated_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/CONFIG.md");
    let kept = std::fs::read_to_string(path).unwrap();
    assert!(kept == reference(), "run: cargo run -- config doc > broker/docs/CONFIG.md");
}

#[test]
fn the_file_that_the_readme_shows_holds_the_defaults() {
    let readme = include_str!("../../../README.md");
    let (_, block) = readme.split_once("```toml\n").expect("a file is shown");
    let shown = limits(block.split("```").next().unwrap_or_default());
    let stocks = shown.namespaces.of("stocks.A");
    assert!(stocks.latest && stocks.mode == Mode::Latest);
    assert_eq!(shown.namespaces.default, Limits::default().namespaces.default);
    let namespaces = Limits::default().namespaces;
    assert_eq!(Limits { namespaces, ..shown }, Limits::default());
}

#[test]
fn the_schema_takes_what_the_broker_takes_and_refuses_what_it_refuses() {
    let validator = jsonschema::draft202012::new(&schema()).unwrap();
    let is_valid = |file: &str| {
        let table: toml::Table = toml::from_str(file).unwrap();
        validator.is_valid(&serde_json::to_value(table).unwrap())
    };
    assert!(is_valid(&default_file()));
    for file in [
        "shards = 3",
        "allowed_origins = [\"*\", \"null\", \"https://a.example:444\"]",
        "[limits]\noutbox_max = \"1.5 MiB\"\nhistory_total = 0\nstall_timeout = \"1h 30m\"",
        "[namespaces.\"ü@x\"]\nlatest = true",
    ] {
        assert!(is_valid(file) && load(file, &[], &[]).is_ok(), "{file}");
    }
    for file in [
        "shards = 0",
        "listen = 8080",
        "allowed_origins = [\"https://a.example/\"]",
        "[limits]\noutbox_max = \"big\"",
        "[limits]\nstall_timeout = 30",
        "[limits]\nstall = \"30s\"",
        "[namespaces.a]\nlatests = true",
        "[namespaces.a]\nmode = \"newest\"",
        "[namespace.a]",
    ] {
        assert!(!is_valid(file) && load(file, &[], &[]).is_err(), "{file}");
    }
}

/// Every value of a configuration, as it is written.
fn values(config: &ServerConfig) -> Vec<(String, Value)> {
    let mut config = config.clone();
    let keys = Key::all(&config.limits.namespaces);
    keys.iter().map(|key| (key.name(), key.get(&mut config))).collect()
}

/// Some settings, each with a text that it may have.
fn assignments() -> impl Strategy<Value = Vec<(String, String)>> {
    let texts = prop_oneof![
        any::<u32>().prop_map(|number| number.to_string()),
        (0..40_u32, 0..1_024_u64).prop_map(|(bits, n)| (n << bits).to_string()),
        (1..1_000_000_u64, 0..6_usize).prop_map(|(number, unit)| {
            format!("{number}{}", ["ms", "s", "m", "h", "KiB", "MB"][unit])
        }),
        any::<std::net::SocketAddr>().prop_map(|addr| addr.to_string()),
        "[a-z]{1,5}://[a-z\"\\\\ü.]{1,9}(:[0-9]{1,5})?",
        prop::sample::select(vec!["true", "false", "latest", "all", "catch_up", "auto", "null"])
            .prop_map(str::to_owned),
    ];
    let keys = ["default", "stocks", "ü@x"].into_iter().flat_map(Key::all_of_namespace);
    let names: Vec<String> = SERVER
        .iter()
        .map(|setting| setting.key.to_owned())
        .chain(keys.map(|key| key.name().replace('"', "")))
        .collect();
    prop::collection::vec((prop::sample::select(names), texts), 0..80)
}

proptest! {
    #[test]
    fn what_a_configuration_comes_to_can_be_loaded_and_comes_to_the_same(all in assignments()) {
        let (server, source) = (ServerConfig::default(), Source::default());
        let mut configuration = Configuration { server, source, origins: BTreeMap::new() };
        for (key, text) in all {
            let flag = Flag { name: "--set".to_owned(), key, text };
            let assignment = flag.read(&mut Vec::new()).unwrap();
            let _ = configuration.assign(assignment);
        }
        prop_assume!(configuration.check().is_ok());
        let shown = configuration.effective();
        let loaded = load(&shown, &[], &[]).map_err(TestCaseError::fail)?;
        prop_assert_eq!(values(&loaded.server), values(&configuration.server), "{}", shown);
        prop_assert_eq!(loaded.server.limits, configuration.server.limits);
    }
}
