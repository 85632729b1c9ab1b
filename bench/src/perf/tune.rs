//! What a setting is worth, each with what the record has measured of it.

use super::rows::{NONE, Rows};
use crate::notes::number;
use crate::record::Record;
use crate::report::GROUP;

/// The list; none without a row that it needs.
pub(super) fn text(record: &Record) -> Option<String> {
    let rows = Rows(&record.rows);
    rows.group(GROUP).next()?;
    let at = |group: &str, case: &str| rows.middle(group, case);
    let engine = |case: &str| at(GROUP, &format!("{case}: engine"));
    let times = |group: &str, a: &str, b: &str| rows.ratio(group, a, b);
    let items = [
        format!(
            "Batch (`batch_messages_max`): a message of `echo` takes {} ns of its core alone in its call and {} ns among 64; with contract 3 {} ns among 256 and {} ns among 1,024.",
            engine("echo, 1 a call"),
            engine("echo, 64 a call"),
            engine("batch-echo, 256 a call"),
            engine("batch-echo, 1024 a call"),
        ),
        format!(
            "Packs (`publish_pack`): in messages the same takes {} ns among 256.",
            engine("batch-echo, in messages, 256 a call"),
        ),
        format!(
            "Budget (`latency_budget`): what a message may take, its wait included. At half of what a shard can do p99 is {} µs here; with a budget below that one in a hundred would be late.",
            at("latency", "in process at 50 %: p99"),
        ),
        format!(
            "Shards: one a core, less those that publishers need. Two do {} times what one does, and {} times with their publisher on the same two cores.",
            times("scaling", "2 shards", "1 shard"),
            times("scaling published", "2 shards", "1 shard"),
        ),
        format!(
            "Reset mode (`reset`): leave it unset. `pagemap-scan`, which needs Linux 6.7 and no active swap, makes {} times the calls of `madvise`, and {} times those of `copy`.",
            times("reset", "pagemap-scan", "madvise"),
            times("reset", "pagemap-scan", "copy"),
        ),
        format!(
            "Memory: a loaded idle handler holds {} KB, a ready instance {} KB, both of an image of 64 KB. What is bounded is more: {} MB is the most that one shard with one handler and the defaults can need, nearly all of it only if guests take all that they may. `memory_total_bytes_max` (`memory_total`) refuses to start above its value, and says its terms, the largest first.",
            at("memory", "an idle handler"),
            at("memory", "a ready instance, never called"),
            at("memory", "the most that defaults can need"),
        ),
        format!(
            "`ready_instances_max`: an instance from the pond saves {} of {} µs of a message alone. 2 serve a stream of single messages; more serve bursts on an idle shard.",
            saved(rows).unwrap_or_else(|| NONE.to_owned()),
            at("taken to settled", "echo, without the pond"),
        ),
        format!(
            "`idle_spin`: where latency at low load is worth a whole core a shard: publish to answer {} µs in place of {} µs.",
            at("dispatch hop", "echo, from the pond"),
            at("dispatch hop", "echo, from the pond, its thread rested"),
        ),
    ];
    Some(items.iter().map(|item| format!("- {item}\n")).collect())
}

/// Microseconds that the pond saves.
fn saved(rows: Rows<'_>) -> Option<String> {
    let of = |case: &str| rows.median("taken to settled", case);
    let saved = of("echo, without the pond")? - of("echo, from the pond")?;
    Some(number(saved))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notes::Row;
    use crate::record::Facts;
    use crate::sources::Sources;

    #[test]
    fn each_setting_has_its_number_and_none_is_made_up() {
        let row = |case: &str, nanos| Row {
            group: GROUP.into(),
            case: format!("{case}: engine"),
            unit: "ns".into(),
            rounds: vec![nanos],
        };
        let record = Record {
            facts: Facts::here(&[]),
            rows: vec![
                row("echo, 1 a call", 8_000.0),
                row("echo, 64 a call", 1_200.0),
            ],
            failed: Vec::new(),
            sources: Sources::new(),
        };
        let text = text(&record).unwrap();
        let told = "takes 8000 ns of its core alone in its call and 1200 ns among 64";
        assert!(text.contains(told), "{text}");
        assert!(text.contains(&format!("makes {NONE} times")), "{text}");
        assert_eq!(
            super::text(&Record {
                rows: Vec::new(),
                ..record
            }),
            None
        );
    }
}
