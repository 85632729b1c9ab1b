//! Tests of a whole configuration: every key and flag into its own field, precedence, errors and their places, secrets.

use clap::Parser;
use proptest::prelude::*;

use super::file::{CreateKeys, DefaultKeys, StreamKeys, TlsKeys};
use super::*;
use crate::args::{Arguments, Command};

/// The example that documents every key.
const EXAMPLE: &str = include_str!("../../millpond.example.toml");
/// Two handlers, one of each kind.
const BOTH: &str = "\
[nats]
urls = [\"a\"]
[[handler]]
component = \"echo.wasm\"
[[handler]]
component = \"orders.wasm\"
stream = \"ORDERS\"
durable = \"mill\"
";

fn document(text: &str) -> Document {
    Document {
        path: "millpond.toml".into(),
        text: text.to_owned(),
    }
}

fn planned(text: &str) -> Result<Plan, String> {
    planned_with(text, &[])
}

/// The plan of a file with these arguments of `run`.
fn planned_with(text: &str, arguments: &[&str]) -> Result<Plan, String> {
    let typed = ["millpond", "run", "--config", "x"].iter().chain(arguments);
    of_document(&document(text), &flags(typed.copied())).map_err(|error| error.to_string())
}

fn flags<'a>(typed: impl Iterator<Item = &'a str>) -> Flags {
    match Arguments::try_parse_from(typed)
        .expect("they are arguments")
        .command
    {
        Command::Run(run) => run.flags(),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn shown(text: &str) -> String {
    match planned(text) {
        Ok(plan) => format!("{:?}", plan.engine),
        Err(error) => panic!("{error} in\n{text}"),
    }
}

/// A table of the file, a key, a value, and what the engine's configuration then shows.
type Row = (&'static str, &'static str, &'static str, &'static str);

/// Every key that is no limit.
const ROWS: &[Row] = &[
    ("engine", "shards", "3", "shards: 3"),
    ("engine", "spread", "\"subject\"", "spread: Subject"),
    ("engine", "pin", "false", "pin: false"),
    ("engine", "reset", "\"madvise\"", "reset: Some(Madvise)"),
    ("engine", "seed", "7", "seed: Some(7)"),
    ("engine", "guard_pages", "true", "guard_pages: true"),
    ("engine", "cache", "\"off\"", "cache: None"),
    (
        "engine",
        "cache",
        "\"c\"",
        "cache: Some(CacheConfig { folder: \"c\"",
    ),
    ("engine", "cache_max", "\"3MiB\"", "bytes_max: 3145728 }"),
    (
        "engine.limits",
        "memory_total",
        "\"3GiB\"",
        "memory_total_bytes_max: Some(3221225472)",
    ),
    ("nats", "urls", "[\"tls://b\"]", "urls: [tls://b:4222]"),
    ("nats", "connection_name", "\"n\"", "name: \"n\", auth"),
    ("nats", "token", "\"env:PATH\"", "auth: Token((secret))"),
    ("nats", "nkey_seed", "\"env:PATH\"", "auth: Nkey((secret))"),
    (
        "nats",
        "creds",
        "\"c.creds\"",
        "auth: CredentialsFile(\"c.creds\")",
    ),
    ("nats", "ready_wait_max", "\"7s\"", "ready_wait_max: 7s"),
    ("nats", "silence_max", "\"7s\"", "silence_max: 7s"),
    (
        "nats",
        "reconnect_delay_max",
        "\"7s\"",
        "reconnect_delay_max: 7s",
    ),
    (
        "nats.tls",
        "ca",
        "\"ca.pem\"",
        "roots: Only(File(\"ca.pem\"))",
    ),
    (
        "nats.tls",
        "handshake_first",
        "true",
        "handshake_first: true",
    ),
    ("handler", "name", "\"n\"", "name: \"n\", source"),
    ("handler", "subjects", "[\"s.*\"]", "subjects: [\"s.*\"]"),
    ("handler", "queue", "\"q\"", "queue: Some(\"q\")"),
    ("handler", "every_message", "true", "Core { queue: None }"),
    (
        "handler",
        "dead_letter",
        "\"d\"",
        "dead_letter: Some(\"d\")",
    ),
    ("handler", "droppable", "true", "droppable: true"),
    ("handler", "allow_publish", "[\"p.>\"]", "send: [\"p.>\"]"),
    (
        "handler",
        "allow_subscribe",
        "[\"u.>\"]",
        "subscribe: [\"u.>\"]",
    ),
    ("handler", "brokers", "[\"b\"]", "brokers: [\"b\"]"),
];

/// Keys without a flag, and those that need another.
const MORE: &[Row] = &[
    (
        "nats",
        "user",
        "\"u\"\npassword = \"p\"",
        "auth: Password { user: \"u\", password: (secret) }",
    ),
    (
        "nats.tls",
        "certificate",
        "\"c.pem\"\nkey = \"k.pem\"",
        "chain: File(\"c.pem\"), key: File(\"k.pem\")",
    ),
    (
        "handler",
        "component",
        "\"other.wasm\"",
        "File(\"other.wasm\")",
    ),
    (
        "handler",
        "contract",
        "\"millpond:batch/handler@0.1.0\"",
        "contract: Some(Batch010)",
    ),
    ("handler", "any_broker", "true", "any_broker: true"),
    ("handler", "env", "{ A = \"b\" }", "env: [\"A\"]"),
    (
        "handler",
        "stream",
        "\"S\"\ndurable = \"d\"",
        "stream: \"S\", durable: \"d\", create: None, delivery: AtLeastOnce",
    ),
];

/// Keys of a handler of a stream.
const OF_STREAM: &[Row] = &[
    (
        "handler",
        "delivery",
        "\"at-most-once\"",
        "delivery: AtMostOnce",
    ),
    (
        "handler.create",
        "filter_subjects",
        "[\"f\"]",
        "filter_subjects: [\"f\"]",
    ),
    ("handler.create", "ack_wait", "\"7s\"", "ack_wait: Some(7s)"),
    (
        "handler.create",
        "max_ack_pending",
        "7",
        "max_ack_pending: Some(7)",
    ),
    ("handler.create", "max_waiting", "7", "max_waiting: Some(7)"),
    (
        "handler.create",
        "deliver",
        "{ sequence = 7 }",
        "deliver: Some(Sequence(7))",
    ),
    ("handler.create", "deliver", "\"all\"", "deliver: Some(All)"),
    ("handler.create", "deliver", "\"new\"", "deliver: Some(New)"),
    (
        "handler.create",
        "deliver",
        "\"last\"",
        "deliver: Some(Last)",
    ),
    (
        "handler.create",
        "deliver",
        "\"last-per-subject\"",
        "deliver: Some(LastPerSubject)",
    ),
    (
        "handler.create.stream",
        "subjects",
        "[\"s\"]",
        "subjects: [\"s\"]",
    ),
    (
        "handler.create.stream",
        "storage",
        "\"file\"",
        "storage: Some(File)",
    ),
    (
        "handler.create.stream",
        "storage",
        "\"memory\"",
        "storage: Some(Memory)",
    ),
    (
        "handler.create.stream",
        "retention",
        "\"limits\"",
        "retention: Some(Limits)",
    ),
    (
        "handler.create.stream",
        "retention",
        "\"interest\"",
        "retention: Some(Interest)",
    ),
    (
        "handler.create.stream",
        "retention",
        "\"workqueue\"",
        "retention: Some(WorkQueue)",
    ),
    (
        "handler.create.stream",
        "replicas",
        "7",
        "replicas: Some(7)",
    ),
    (
        "handler.create.stream",
        "max_age",
        "\"7s\"",
        "max_age: Some(7s)",
    ),
    (
        "handler.create.stream",
        "max_bytes",
        "7",
        "max_bytes: Some(7)",
    ),
    (
        "handler.create.stream",
        "max_messages",
        "7",
        "max_messages: Some(7)",
    ),
    (
        "handler.create.stream",
        "duplicate_window",
        "\"7s\"",
        "duplicate_window: Some(7s)",
    ),
    (
        "handler.create.stream",
        "allow_atomic",
        "true",
        "allow_atomic: Some(true)",
    ),
];

/// A file that says this, and else only what it has to.
fn file_of((table, key, value, _): Row, stream: bool) -> String {
    let value = match value.strip_prefix("\"env:") {
        Some(name) => format!("{{ env = \"{name}}}"),
        None => value.to_owned(),
    };
    let said = format!("{key} = {value}\n");
    let when = |wanted: &str| if table == wanted { said.as_str() } else { "" };
    let unless =
        |skipped: &str, text: &'static str| if said.starts_with(skipped) { "" } else { text };
    let mut text = String::new();
    // The order of a subject is kept by one shard.
    let one = if key == "spread" { "shards = 1\n" } else { "" };
    text += &format!(
        "[engine]\n{one}{}[engine.limits]\n{}",
        when("engine"),
        when("engine.limits")
    );
    text += &format!(
        "[nats]\n{}{}",
        unless("urls", "urls = [\"a\"]\n"),
        when("nats")
    );
    text += &format!("[nats.tls]\n{}", when("nats.tls"));
    let handler = unless("component", "component = \"echo.wasm\"\n");
    text += &format!("[[handler]]\n{handler}{}", when("handler"));
    if stream {
        text += "stream = \"ORDERS\"\ndurable = \"mill\"\n";
    }
    if table.starts_with("handler.") {
        text += &format!("[{table}]\n{said}");
    }
    text
}

#[test]
fn every_key_is_read_into_its_own_field() {
    let row = ("", "", "", "");
    let (core, stream) = (shown(&file_of(row, false)), shown(&file_of(row, true)));
    for &row in ROWS.iter().chain(MORE) {
        let read = shown(&file_of(row, false));
        assert!(
            read.contains(row.3) && !core.contains(row.3),
            "{row:?}: {read}"
        );
    }
    for &row in OF_STREAM {
        let read = shown(&file_of(row, true));
        assert!(
            read.contains(row.3) && !stream.contains(row.3),
            "{row:?}: {read}"
        );
    }
}

#[test]
fn no_key_is_left_out_of_these_tables_or_of_the_example() {
    let rows = || ROWS.iter().chain(MORE).chain(OF_STREAM);
    let tables = [
        ("engine", EngineKeys::KEYS),
        ("nats", file::NatsKeys::KEYS),
        ("nats.tls", TlsKeys::KEYS),
        ("handler", HandlerKeys::KEYS),
        ("handler.create", CreateKeys::KEYS),
        ("handler.create.stream", StreamKeys::KEYS),
    ];
    for (table, keys) in tables {
        for key in keys {
            let has = |row: &Row| {
                row.0 == table && (row.1 == *key || row.2.contains(&format!("{key} =")))
            };
            let elsewhere = ["limits", "tls", "create", "drain_wait_max"].contains(key)
                || (table, *key) == ("handler.create", "stream");
            assert!(rows().any(has) || elsewhere, "{table}.{key} is in no row");
        }
    }
    let limits = [
        ("engine.limits", EngineLimitKeys::KEYS),
        ("handler_defaults.limits", HandlerLimitKeys::KEYS),
    ];
    let limits =
        limits.map(|(table, keys)| (table, keys.iter().map(|key| key.key).collect::<Vec<_>>()));
    let of = |(table, keys): (&'static str, &[&'static str])| (table, keys.to_vec());
    let defaults = ("handler_defaults", DefaultKeys::KEYS);
    for (table, keys) in tables.into_iter().chain([defaults]).map(of).chain(limits) {
        for key in keys {
            let told = lines_of(table)
                .any(|line| line.trim_start_matches('#').split([' ', '=']).next() == Some(key));
            let is_table = EXAMPLE.contains(&format!("[{table}.{key}]"));
            assert!(told || is_table, "{table}.{key} is not in the example");
        }
    }
}

/// The lines of a table of the example.
fn lines_of(table: &str) -> impl Iterator<Item = &'static str> {
    let (plain, list) = (format!("[{table}]"), format!("[[{table}]]"));
    let mut within = false;
    EXAMPLE.lines().filter(move |line| {
        if line.starts_with('[') {
            within = line.starts_with(&plain) || line.starts_with(&list);
        }
        within
    })
}

/// The example with those of its keys that this picks, which stand behind a `#`.
fn example_with(picked: impl Fn(usize, &str) -> bool) -> String {
    let is_key = |line: &str| {
        line.strip_prefix('#')
            .is_some_and(|rest| rest.starts_with(char::is_alphabetic))
    };
    let line = |(number, line): (usize, &str)| match is_key(line) && picked(number, line) {
        true => line[1..].to_owned() + "\n",
        false => line.to_owned() + "\n",
    };
    EXAMPLE.lines().enumerate().map(line).collect()
}

/// The example without what only its author's environment has.
fn without_environment(text: &str) -> String {
    text.replace("ORDERS_API_KEY", "PATH")
}

#[test]
fn the_example_is_good_and_its_defaults_are_the_defaults() {
    let plain = planned(&without_environment(EXAMPLE)).expect("the example is good");
    let told = example_with(|_, line| !line.contains("for example"));
    assert!(
        told.lines().count() - told.matches("\n#").count()
            > EXAMPLE.lines().count() - EXAMPLE.matches("\n#").count() + 60
    );
    let told = planned(&without_environment(&told)).expect("its defaults are good");
    assert_eq!(format!("{:?}", told.engine), format!("{:?}", plain.engine));
    assert_eq!(told.drain_wait_max, plain.drain_wait_max);
    let defaults = EngineConfig::default();
    assert_eq!(plain.engine.limits, defaults.limits);
    assert_eq!(
        plain.engine.handlers[0].limits,
        millpond::HandlerLimits::default()
    );
    assert_eq!(
        (plain.engine.pin, plain.engine.guard_pages),
        (defaults.pin, defaults.guard_pages)
    );
}

#[test]
fn every_value_that_the_example_shows_is_one() {
    for (number, line) in EXAMPLE
        .lines()
        .enumerate()
        .filter(|(_, line)| line.contains("# for example"))
    {
        let text = example_with(|picked, _| picked == number);
        assert_ne!(text, EXAMPLE, "{line}");
        let keys = document(&text).keys();
        assert!(
            keys.is_ok(),
            "{line}: {:?}",
            keys.err().map(|error| error.to_string())
        );
    }
}

/// What flags come to, beside what a file does; what only differs is said to be the same.
fn by_flags(arguments: &[String]) -> String {
    let typed = ["millpond", "run", "echo.wasm"]
        .iter()
        .copied()
        .chain(arguments.iter().map(String::as_str));
    let plan = of_components(&["echo.wasm".into()], &flags(typed));
    let plan = plan.unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
    format!("{:?}", plan.engine).replace("any_broker: true", "any_broker: false")
}

/// The flags that say what a row does.
fn flags_of((table, key, value, _): Row) -> Vec<String> {
    let way = table
        .split('.')
        .fold(Way::default(), |way, table| way.key(table))
        .key(key);
    let value = value.trim_matches(['[', ']']).trim_matches('"');
    let mut flags = vec![format!("{}={value}", fault::flag(&way))];
    if (table, key) != ("nats", "urls") {
        flags.push("--nats=a".into());
    }
    if key == "spread" {
        flags.push("--shards=1".into());
    }
    flags
}

#[test]
fn a_flag_says_what_the_key_of_its_name_says() {
    for &row in ROWS {
        assert_eq!(
            by_flags(&flags_of(row)),
            shown(&file_of(row, false)),
            "{row:?}"
        );
    }
    let limits = HandlerLimitKeys::typed(&millpond::HandlerLimits::default());
    for (key, typed) in limits {
        let typed = typed.expect("every limit of a handler has a default");
        let value = match (typed.contains("B\""), typed.contains("s\"")) {
            (true, _) => "\"3KiB\"",
            (_, true) => "\"7us\"",
            _ => "77",
        };
        let row = ("handler.limits", key, value, "");
        assert_eq!(
            by_flags(&flags_of(row)),
            shown(&file_of(row, false)),
            "{key}"
        );
    }
    let typed = [
        "--stream=ORDERS",
        "--durable=mill",
        "--delivery=at-most-once",
        "--nats=a",
    ]
    .map(str::to_owned);
    assert_eq!(by_flags(&typed), shown(&file_of(OF_STREAM[0], true)));
    let drain = ["--drain-wait-max", "7s"];
    let plan = planned_with(BOTH, &drain).expect("it is good");
    let file = planned(&format!("engine.drain_wait_max = \"7s\"\n{BOTH}")).expect("it is good");
    assert_eq!(
        (plan.drain_wait_max, file.drain_wait_max),
        (Duration::from_secs(7), Duration::from_secs(7))
    );
}

#[test]
fn a_guests_setting_has_the_name_of_the_limit_that_it_tightens() {
    let engine = include_str!("../../../../engine/src/config.rs");
    let (_, settings) = engine
        .split_once("match key.as_str() {")
        .expect("the engine reads settings there");
    let (settings, _) = settings
        .split_once("_ => unknown")
        .expect("the last of them");
    let mut names = 0;
    for setting in settings.split("=>").collect::<Vec<_>>().windows(2) {
        let name = setting[0]
            .rsplit('"')
            .nth(1)
            .expect("a name")
            .replace('-', "_");
        let (_, field) = setting[1].split_once("limits").expect("a limit");
        let field = field
            .trim_start_matches(|c: char| !c.is_alphanumeric())
            .split([' ', '\n', '.'])
            .next();
        let key = HandlerLimitKeys::KEYS.iter().find(|key| key.key == name);
        assert_eq!(key.map(|key| key.field), field, "{name}");
        names += 1;
    }
    assert_eq!(names, 5);
}

#[test]
fn the_command_line_goes_before_the_file_and_that_before_its_defaults() {
    let batch_max = |defaults: &str, handler: &str, arguments: &[&str]| {
        let text = format!(
            "[nats]\nurls = [\"a\"]\n[handler_defaults]\n{defaults}\n[[handler]]\ncomponent = \"a.wasm\"\n{handler}\n"
        );
        let plan = planned_with(&text, arguments).expect("it is good");
        plan.engine.handlers[0].limits.batch_messages_max
    };
    let (below, above, typed) = (
        "limits.batch_max = 2",
        "limits.batch_max = 3",
        ["--batch-max", "4"],
    );
    assert_eq!(batch_max("", "", &[]), 64);
    assert_eq!(batch_max(below, "", &[]), 2);
    assert_eq!(batch_max(below, above, &[]), 3);
    assert_eq!(batch_max(below, above, &typed), 4);
    assert_eq!(batch_max("", "", &typed), 4);
    let shards = |text: &str, arguments: &[&str]| {
        let plan = planned_with(&format!("{text}\n{BOTH}"), arguments).expect("it is good");
        plan.engine.shards
    };
    assert_eq!(shards("engine.shards = 3", &[]), 3);
    assert_eq!(shards("engine.shards = 3", &["--shards", "2"]), 2);
}

#[test]
fn a_default_is_replaced_as_a_whole_and_limits_one_by_one() {
    let text = "[nats]\nurls = [\"a\"]\n[handler_defaults]\nallow_publish = [\"x\"]\ndelivery = \"at-most-once\"\n\
        limits = { batch_max = 2, weight = 3 }\n[[handler]]\ncomponent = \"a.wasm\"\nallow_publish = [\"y\"]\n\
        limits.batch_max = 4\n[[handler]]\ncomponent = \"b.wasm\"\nstream = \"S\"\ndurable = \"d\"\n";
    let plan = planned(text).expect("a delivery level is not meant for subjects");
    let [first, second] = plan.engine.handlers.as_slice() else {
        panic!("there are two")
    };
    assert_eq!(
        (first.grants.send.as_slice(), second.grants.send.as_slice()),
        (&["y".to_owned()][..], &["x".to_owned()][..])
    );
    assert_eq!(
        (first.limits.batch_messages_max, first.limits.weight),
        (4, 3)
    );
    assert!(format!("{second:?}").contains("AtMostOnce"));
}

#[test]
fn credentials_that_are_typed_replace_those_of_the_file() {
    let text = BOTH.replace(
        "[[handler]]\ncomponent = \"echo",
        "user = \"u\"\npassword = \"p\"\n[[handler]]\ncomponent = \"echo",
    );
    let plan = planned_with(&text, &["--creds", "c.creds", "--nats", "b"])
        .expect("they don't contradict each other");
    let shown = format!("{:?}", plan.engine.nats);
    assert!(
        shown.contains("CredentialsFile") && shown.contains("nats://b:4222"),
        "{shown}"
    );
    let plan = planned(&text).expect("it is good");
    let [warning] = plan.warnings.as_slice() else {
        panic!("{:?}", plan.warnings)
    };
    assert!(
        warning.starts_with("millpond.toml:4:1: password is in the file itself"),
        "{warning}"
    );
}

#[test]
fn what_is_out_of_range_is_told_with_the_range_at_its_place() {
    // Zero, or else what is above any range, of every limit.
    let keys = |table: &'static str, keys: &'static [limits::Key]| {
        keys.iter().map(move |key| (table, key.key))
    };
    let handler = keys("handler.limits", HandlerLimitKeys::KEYS);
    let default = keys("handler_defaults.limits", HandlerLimitKeys::KEYS);
    let engine = keys("engine.limits", EngineLimitKeys::KEYS);
    let mut refused = 0;
    for (table, key) in handler.chain(default).chain(engine) {
        for value in [
            "0",
            "4294967295",
            "\"0s\"",
            "\"99999s\"",
            "\"999999999GiB\"",
        ] {
            let text = match table {
                "handler.limits" => format!("{BOTH}[{table}]\n{key} = {value}\n"),
                _ => format!("[{table}]\n{key} = {value}\n{BOTH}"),
            };
            let line = 1 + text
                .lines()
                .position(|line| line.starts_with(key))
                .expect("it is there");
            let Err(error) = planned(&text) else { continue };
            assert!(
                error.starts_with(&format!("millpond.toml:{line}:")),
                "{table}.{key} = {value}: {error}"
            );
            assert!(
                error.contains("may be")
                    || error.contains("can't be used here; write")
                    || error.contains("must be"),
                "{error}"
            );
            assert!(error.contains(key), "{error}");
            refused += 1;
        }
    }
    assert!(refused > 200, "{refused}");
    let typed = ["run", "echo.wasm", "--batch-max", "0"];
    let error = of_components(
        &["echo.wasm".into()],
        &flags(["millpond"].into_iter().chain(typed)),
    );
    let error = error.map(drop).expect_err("it is out of range").to_string();
    assert_eq!(
        error,
        "--batch-max: handler \"echo\": batch_max is 0; it may be 1 to 16777216"
    );
    let error = planned_with(BOTH, &["--shards", "17"])
        .map(drop)
        .expect_err("it is out of range");
    assert_eq!(error, "--shards: shards is 17; it may be 1 to 16");
}

/// A file, and what its error begins with and says.
const BAD: &[(&str, &str, &str, &str)] = &[
    (
        "urls",
        "urlz",
        "2:1: nats: unknown key \"urlz\"",
        "did you mean \"urls\"?",
    ),
    (
        "urls = [\"a\"]",
        "frobnicate = 1",
        "2:1: nats: unknown key \"frobnicate\"",
        "it may be urls, connection_name",
    ),
    (
        "[nats]",
        "[nuts]",
        "1:2: unknown key \"nuts\"",
        "did you mean \"nats\"?",
    ),
    ("[nats]", "[nats", "1:6: ", "expected `]`"),
    ("[\"a\"]", "5", "2:8: nats.urls: ", "a list of texts"),
    ("[\"a\"]", "[]", "2:1: no server is named", "write urls"),
    (
        "[\"a\"]",
        "[\"http://a\"]",
        "2:9: nats.urls: this server's URL can't be used",
        "use nats:// or tls://",
    ),
    ("[\"a\"]", "[\"a\"]\nurls = [\"b\"]", "3:1: ", "twice"),
    (
        "component = \"echo.wasm\"",
        "",
        "3:1: the handler has no component",
        "write component",
    ),
    (
        "\"echo.wasm\"",
        "\"echo.wasm\"\ndroppable = 1",
        "5:13: handler.droppable: this number can't be used",
        "true or false",
    ),
    (
        "\"echo.wasm\"",
        "\"echo.wasm\"\nsubjects = \"a\"",
        "5:12: handler.subjects: a text can't be used",
        "a list",
    ),
    (
        "\"echo.wasm\"",
        "\"echo.wasm\"\nsubjects = [\"a..b\"]",
        "5:13: handler \"echo\": bad subject \"a..b\"",
        "empty token",
    ),
    (
        "\"echo.wasm\"",
        "\"echo.wasm\"\nallow_publish = [\"a\", \"b c\"]",
        "5:23: handler \"echo\": bad subject",
        "b c",
    ),
    (
        "\"echo.wasm\"",
        "\"echo.wasm\"\ndead_letter = \"d.*\"",
        "5:1: handler \"echo\": dead_letter: ",
        "d.*",
    ),
    (
        "\"echo.wasm\"",
        "\"echo.wasm\"\ndurable = \"d\"",
        "5:1: durable needs stream",
        "",
    ),
    (
        "\"echo.wasm\"",
        "\"echo.wasm\"\nqueue = \"q\"\nevery_message = true",
        "5:1: queue and every_message",
        "leave one out",
    ),
    (
        "\"echo.wasm\"",
        "\"echo.wasm\"\nqueue = \"a b\"",
        "5:1: handler \"echo\": queue \"a b\"",
        "",
    ),
    (
        "\"echo.wasm\"",
        "\"echo.wasm\"\nname = \"orders\"",
        "6:1: two handlers are named \"orders\"",
        "another name",
    ),
    (
        "\"echo.wasm\"",
        "\"echo.wasm\"\ndelivery = \"at-least-once\"",
        "5:1: delivery is at-least-once",
        "take from a stream",
    ),
    ("durable = \"mill\"", "", "7:1: stream needs durable", ""),
    (
        "\"mill\"",
        "\"mill\"\nsubjects = [\"a\"]",
        "9:1: subjects can't be with stream",
        "filter_subjects",
    ),
    (
        "\"mill\"",
        "\"mill\"\nqueue = \"a\"",
        "9:1: queue can't be with stream",
        "",
    ),
    (
        "\"mill\"",
        "\"mill\"\ndelivery = \"sometimes\"",
        "9:12: handler.delivery: unknown value \"sometimes\"",
        "effectively-once",
    ),
    (
        "\"mill\"",
        "\"mill\"\ncreate.deliver = \"never\"",
        "9:18: handler.create.deliver: unknown value \"never\"",
        "last-per-subject",
    ),
    (
        "\"mill\"",
        "\"m.l\"",
        "8:1: handler \"orders\": durable \"m.l\"",
        "",
    ),
    (
        "[\"a\"]",
        "[\"a\"]\nuser = \"u\"",
        "3:1: user needs password",
        "",
    ),
    (
        "[\"a\"]",
        "[\"a\"]\ntoken = \"u\"\ncreds = \"c\"",
        "4:1: creds and token both say",
        "leave one out",
    ),
    (
        "[\"a\"]",
        "[\"a\"]\ntls.key = \"k\"",
        "3:5: tls.key needs tls.certificate",
        "",
    ),
    (
        "[\"a\"]",
        "[\"a\"]\ntoken = { env = \"MILLPOND_NOT_SET\" }",
        "3:1: token: the environment variable",
        "set it",
    ),
    (
        "[\"a\"]",
        "[\"a\"]\ntoken = { file = \"/dev/null/x\" }",
        "3:1: token: the file /dev/null/x can't be read",
        "",
    ),
];

#[test]
fn what_is_wrong_is_told_with_line_and_column_and_what_to_do() {
    for (was, is, begin, also) in BAD {
        let text = BOTH.replacen(was, is, 1);
        assert_ne!(text, BOTH);
        let error = planned(&text).map(drop).expect_err(is);
        assert!(
            error.starts_with(&format!("millpond.toml:{begin}")) && error.contains(also),
            "{is}: {error}"
        );
    }
    let nobody = planned("").map(drop).expect_err("there is no handler");
    assert_eq!(
        nobody,
        "millpond.toml: there is no handler; add [[handler]] with component = \"FILE.wasm\""
    );
    let alone = BOTH.replace("[nats]\nurls = [\"a\"]\n", "");
    let error = planned(&alone)
        .map(drop)
        .expect_err("a stream is on a server");
    assert!(
        error.starts_with("millpond.toml:5:1: stream needs servers"),
        "{error}"
    );
}

/// A file with a secret in every place that may have one.
const SECRETS: &str = "\
[nats]
urls = [\"nats://u:hunter2!hunter2@a\", \"hunter2!hunter2@b\"]
user = \"u\"
password = \"hunter2hunter2\"
[nats.tls]
certificate = \"c.pem\"
key = \"\"\"-----BEGIN PRIVATE KEY-----
hunter2hunter2
\"\"\"
[[handler]]
component = \"a.wasm\"
env = { A = \"hunter2hunter2\" }
";

/// What is said of a file, whether it is good or not.
fn all_that_is_said(text: &str) -> String {
    let document = document(text);
    let keys = format!("{:?}", document.keys());
    let planned = match of_document(&document, &Flags::default()) {
        Ok(plan) => format!(
            "{:?} {:?} {:?}",
            plan.engine.nats, plan.warnings, plan.handlers
        ),
        Err(error) => format!("{error:?} {error:#}"),
    };
    keys + &planned
}

#[test]
fn no_secret_is_ever_told_whatever_is_wrong_with_the_file() {
    assert!(planned(SECRETS).is_ok());
    assert!(!all_that_is_said(SECRETS).contains("hunt"));
    let others = [
        "", "\"", "=", "[", "]", "{", "\n", "x", ".", "#", "'", "1", ",", "é",
    ];
    for at in (0..SECRETS.len()).filter(|at| SECRETS.is_char_boundary(*at)) {
        let cut = all_that_is_said(&SECRETS[..at]);
        assert!(!cut.contains("hunt"), "cut at {at}: {cut}");
        for other in others {
            let text = format!("{}{other}{}", &SECRETS[..at], &SECRETS[at + 1..]);
            let said = all_that_is_said(&text);
            assert!(!said.contains("hunt"), "{other:?} at {at}: {said}");
        }
    }
}

#[test]
fn no_secret_on_the_command_line_is_repeated() {
    for typed in [
        "--password=hunter2",
        "--token=hunter2",
        "--nkey-seed=hunter2",
        "--nats=nats://u:hunter2",
        "--nats=x://u:hunter2@a",
    ] {
        let user = if typed.starts_with("--pass") {
            "--user=u"
        } else {
            "--pin"
        };
        let arguments = ["run", "echo.wasm", "--nats=a", user, typed];
        let arguments = arguments
            .iter()
            .filter(|argument| !typed.starts_with("--nats") || **argument != "--nats=a");
        let flags = flags(["millpond"].iter().chain(arguments).copied());
        let error = of_components(&["echo.wasm".into()], &flags)
            .map(drop)
            .expect_err("it can't be used");
        let error = format!("{error:#} {flags:?}");
        let flag = typed.split('=').next().expect("the flag");
        assert!(
            error.starts_with(&format!("{flag}: ")) && !error.contains("hunter2"),
            "{error}"
        );
    }
}

#[test]
fn a_secret_of_another_kind_is_not_told_either() {
    for value in [
        "4455667788",
        "[\"4455667788\"]",
        "{ a = 4455667788 }",
        "44556677.88",
        "{ file = [4455667788] }",
    ] {
        for key in ["password", "token", "nkey_seed"] {
            let text = BOTH.replace("[\"a\"]\n", &format!("[\"a\"]\n{key} = {value}\n"));
            let error = planned(&text).map(drop).expect_err("it is no secret");
            assert!(
                error.starts_with("millpond.toml:3:") && !error.contains("445566"),
                "{error}"
            );
        }
    }
}

proptest! {
    #[test]
    fn any_text_is_read_or_told_of(text in "[a-z\\[\\]{}=\".#\n 0-9]{0,60}") {
        let _ = planned(&text);
    }

    #[test]
    fn limits_come_through_as_they_were_written(batch in 1_u32..=1 << 24, budget in 1_u64..86_400_000_000, memory in 0_u64..1 << 48) {
        let (budget, memory) = (Duration::from_micros(budget), memory);
        let text = format!(
            "{BOTH}[handler.limits]\nbatch_max = {batch}\nlatency_budget = \"{}us\"\nmemory_max = {memory}\n",
            budget.as_micros()
        );
        let plan = planned(&text).expect("they are in range");
        let limits = &plan.engine.handlers[1].limits;
        prop_assert_eq!(limits.batch_messages_max as u64, u64::from(batch));
        prop_assert_eq!((limits.latency_budget, limits.memory_bytes_max as u64), (budget, memory));
    }
}
