//! What the engine finds wrong with a configuration, in the names and at the places of whoever wrote it.
//!
//! The engine names its own fields and no places. Each text is one of `EngineConfig::validate`; one that is not known here is
//! passed on as it is.

use super::Planned;
use super::fault::{Fault, Origin};
use super::limits::{EngineLimitKeys, HandlerLimitKeys, Key};
use super::place::Way;

/// The fault that the engine's words are.
pub(super) fn fault(words: &str, handlers: &[Planned], origin: &Origin<'_>) -> Fault {
    for (index, handler) in handlers.iter().enumerate() {
        let begin = format!("handler {:?}: ", handler.name);
        if let Some(rest) = words.strip_prefix(&begin) {
            let mut found = of_handler(rest, handler, &Way::of(&["handler"]).index(index), origin);
            found.what = begin + &found.what;
            return found;
        }
    }
    let named =
        words.starts_with("two handlers are named ") || words.starts_with("a handler is named ");
    if named {
        let of_name = |handler: &Planned| words.contains(&format!("{:?}", handler.name));
        let index = handlers.iter().rposition(of_name).unwrap_or_default();
        return Fault::new(Way::of(&["handler"]).index(index).key("name"), words);
    }
    match first_word(words) {
        "shards" => Fault::new(Way::of(&["engine", "shards"]), words),
        key @ ("silence_max" | "reconnect_delay_max" | "ready_wait_max") => {
            Fault::new(Way::of(&["nats", key]), words)
        }
        word => match EngineLimitKeys::KEYS.iter().find(|key| key.field == word) {
            Some(key) => Fault::new(Way::of(&["engine", "limits", key.key]), renamed(words, key)),
            None if words.starts_with("there is no handler") => Fault::new(
                Way::of(&["handler"]),
                "there is no handler; add [[handler]] with component = \"FILE.wasm\"",
            ),
            None => Fault::new(Way::default(), words),
        },
    }
}

/// What is wrong with one handler.
fn of_handler(words: &str, handler: &Planned, at: &Way, origin: &Origin<'_>) -> Fault {
    let word = first_word(words);
    if let Some(key) = HandlerLimitKeys::KEYS.iter().find(|key| key.field == word) {
        return Fault::new(at.clone().key("limits").key(key.key), renamed(words, key));
    }
    match word {
        "queue" if handler.keys.queue.is_none() => {
            let what =
                format!("its name is its queue group too, unless queue names another: {words}");
            return Fault::new(at.clone(), what);
        }
        "dead_letter" | "queue" | "stream" | "durable" => {
            return Fault::new(at.clone().key(word), words);
        }
        "delivery" => return Fault::new(at.clone().key("delivery"), words),
        _ => {}
    }
    if words.starts_with("the order of a subject ") {
        return Fault::new(Way::of(&["engine", "spread"]), words);
    }
    let quoted = words.split('"').nth(1);
    let at = quoted
        .and_then(|text| origin.way_to(text, at))
        .unwrap_or_else(|| in_flags(quoted, handler, at));
    Fault::new(at, words)
}

/// The key that has this text, where there is no file to look into.
fn in_flags(text: Option<&str>, handler: &Planned, at: &Way) -> Way {
    let keys = &handler.keys;
    let lists = [
        ("subjects", &keys.subjects),
        ("allow_publish", &keys.allow_publish),
        ("allow_subscribe", &keys.allow_subscribe),
    ];
    let has = |list: &Option<Vec<String>>| {
        list.iter()
            .flatten()
            .any(|item| Some(item.as_str()) == text)
    };
    let found = lists.iter().find(|(_, list)| has(list));
    found.map_or_else(|| at.clone(), |(key, _)| at.clone().key(key))
}

fn first_word(words: &str) -> &str {
    words.split([' ', ':']).next().unwrap_or(words)
}

/// The engine's words with the key instead of its field.
fn renamed(words: &str, key: &Key) -> String {
    words.replacen(key.field, key.key, 1)
}
