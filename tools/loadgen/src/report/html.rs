//! One page: what was asked for, the verdict, the counts, and the curves. It needs nothing from anywhere else: no script, no font, no
//! picture, so that it can be mailed, kept and printed.

use std::fmt::Write;

use super::charts::escaped;
use super::latency::QUANTILES;
use super::step::StepReport;
use super::{Report, curves, table};
use crate::units::{count, rate, time};

/// The page's style: light and dark, a phone, paper.
const STYLE: &str = include_str!("page.css");

/// The page.
pub(super) fn page(report: &Report, title: &str) -> String {
    let title = match title {
        "" => format!("loadgen {} · {}", report.mode, report.target),
        typed => typed.to_owned(),
    };
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{0}</title>\n<style>\n{STYLE}</style>\n</head>\n\
         <body>\n<header>\n<h1>{0}</h1>\n<p class=\"dim\">{1} · loadgen {2}</p>\n",
        escaped(&title),
        date(report.began_unix_s),
        report.version
    );
    if let Some(verdict) = table::verdict(report) {
        let class = class(report.met);
        page += &format!(
            "<p class=\"verdict{class}\">{}</p>\n",
            escaped(&sentence(&verdict))
        );
    }
    page += "</header>\n<main>\n";
    if let Some(load) = report.shown() {
        page += &facts(report, load);
        page += &notes(load);
        page += "<div class=\"grid\">\n";
        if report.loads.len() > 1 {
            page += &loads(report);
            page += &curves::sweep(report);
        }
        page += &curves::all(report, load);
        page += &tables(report, load);
        page += "</div>\n";
    }
    page + &format!(
        "</main>\n<footer>Latency is {}; the warm-up is left out. Over time, latencies are of the messages that came back in each interval.</footer>\n</body>\n</html>\n",
        escaped(&report.latency_is)
    )
}

/// The class of what is said of an objective, with a space before it.
fn class(met: Option<bool>) -> &'static str {
    match met {
        Some(true) => " met",
        Some(false) => " missed",
        None => "",
    }
}

/// The numbers that are looked for first.
fn facts(report: &Report, load: &StepReport) -> String {
    let counts = &load.counts;
    let mut facts = vec![
        (
            rate(load.received_rate),
            format!("msgs/s {}", report.back()),
            false,
        ),
        (load.latency.shown("p50"), "p50".to_owned(), false),
        (load.latency.shown("p99"), "p99".to_owned(), false),
        (load.latency.shown("p99.9"), "p99.9".to_owned(), false),
        (load.latency.shown("max"), "max".to_owned(), false),
    ];
    if let Some(offered) = load.offered_rate {
        facts.insert(0, (rate(offered), "msgs/s offered".to_owned(), false));
    }
    let bad = [
        (load.lost, "lost"),
        (counts.duplicated, "duplicated"),
        (counts.reordered, "reordered"),
        (counts.corrupted, "corrupted"),
        (counts.refused, "refused"),
        (load.acks.map_or(0, |acks| acks.unacked), "not acknowledged"),
        (
            load.acks.map_or(0, |acks| acks.duplicated),
            "acknowledged again",
        ),
        (load.unsent, "due, not sent"),
    ];
    // The first four are shown even where there are none: that is what is asked of them.
    for (index, (number, name)) in bad.into_iter().enumerate() {
        if index < 4 || number > 0 {
            facts.push((count(number), name.to_owned(), number > 0));
        }
    }
    let mut html = "<div class=\"facts\">\n".to_owned();
    for (value, name, bad) in facts {
        let class = if bad { "fact bad" } else { "fact" };
        add(
            &mut html,
            format_args!(
                "<div class=\"{class}\"><b>{value}</b><span>{}</span></div>",
                escaped(&name)
            ),
        );
    }
    html + "</div>\n"
}

fn notes(load: &StepReport) -> String {
    if load.problems.is_empty() {
        return String::new();
    }
    let items: String = load
        .problems
        .iter()
        .map(|problem| format!("<li>{}</li>\n", escaped(problem)))
        .collect();
    format!("<ul class=\"notes\">\n{items}</ul>\n")
}

/// A row a load.
fn loads(report: &Report) -> String {
    let mut html = String::new();
    html += "<section class=\"wide\"><h2>Loads</h2><div class=\"scroll\"><table class=\"loads\">\n<tr><th>offered/s</th><th>objective</th><th>back/s</th><th>p50</th><th>p99</th><th>p99.9</th><th>lost</th><th>late</th></tr>\n";
    let shown = report.shown();
    for load in &report.loads {
        let class = if shown.is_some_and(|shown| std::ptr::eq(shown, load)) {
            " class=\"shown\""
        } else {
            ""
        };
        let at = |name| load.latency.shown(name);
        add(
            &mut html,
            format_args!(
                "<tr{class}><td>{}</td><td class=\"{}\">{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
                load.offered_rate.map_or("–".to_owned(), rate),
                self::class(load.met).trim(),
                load.judged(),
                rate(load.received_rate),
                at("p50"),
                at("p99"),
                at("p99.9"),
                count(load.lost),
                load.late()
            ),
        );
    }
    let of = report
        .shown()
        .and_then(|load| load.offered_rate)
        .map_or(String::new(), |at| {
            format!(
                "<p class=\"dim\">What follows is of the load at {} msgs/s.</p>",
                rate(at)
            )
        });
    html + "</table></div>" + &of + "</section>\n"
}

/// Percentiles, the objective, and what was asked for.
fn tables(report: &Report, load: &StepReport) -> String {
    let mut html = "<section><h2>Percentiles</h2><table class=\"pairs\">\n".to_owned();
    for (name, _) in QUANTILES {
        let stored = load.ack_latency.as_ref().map_or(String::new(), |acks| {
            format!(" · stored {}", acks.shown(name))
        });
        pair(
            &mut html,
            name,
            &format!("{}{stored}", load.latency.shown(name)),
        );
    }
    pair(&mut html, "mean", &time(load.latency.mean_ns));
    pair(
        &mut html,
        "measured",
        &format!("{} messages", count(load.latency.count)),
    );
    html += "</table></section>\n<section><h2>Counts</h2><table class=\"pairs\">\n";
    // A number stays on the line of what it is of.
    let counts = table::messages(report, load).replace(' ', "\u{a0}");
    let counts = counts.replace("\u{a0}·\u{a0}", " · ");
    pair(&mut html, "messages", &counts);
    if let Some(kept) = load.schedule {
        pair(
            &mut html,
            "schedule",
            &format!(
                "{} of {} due were sent in time; {} left more than 1 ms late, the latest by {}",
                count(kept.in_time),
                count(kept.due),
                count(kept.late),
                time(kept.max_ns)
            ),
        );
    }
    pair(
        &mut html,
        "generator",
        &format!(
            "{:.2} s of cores to send: {} msgs per CPU-second",
            load.sender_cpu_s,
            count(load.sent_per_cpu_second as u64)
        ),
    );
    for judged in &load.objective {
        pair(
            &mut html,
            &judged.term,
            &format!("{} – {}", judged.found, load.judged_of(judged)),
        );
    }
    html += "</table></section>\n<section><h2>Parameters</h2><table class=\"pairs\">\n";
    for parameter in &report.parameters {
        pair(&mut html, parameter.name, &parameter.value);
    }
    html + "</table></section>\n"
}

fn pair(html: &mut String, name: &str, value: &str) {
    add(
        html,
        format_args!(
            "<tr><th scope=\"row\">{}</th><td>{}</td></tr>",
            escaped(name),
            escaped(value)
        ),
    );
}

/// A date and time of day, UTC, from seconds since 1970 (days to a date after Hinnant's `civil_from_days`).
fn date(unix_s: u64) -> String {
    let (days, second) = (unix_s / 86_400, unix_s % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!(
        "{year}-{month:02}-{day:02} {:02}:{:02} UTC",
        second / 3_600,
        second / 60 % 60
    )
}

/// With a capital letter.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

fn add(html: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(html, "{line}").expect("a text takes what is written");
}

#[cfg(test)]
mod tests {
    use super::super::testing::report;
    use super::*;

    /// The tags of a page, each closed by its own kind, in order.
    fn check_nesting(page: &str) {
        let mut open = Vec::new();
        for part in page.split('<').skip(1) {
            let (tag, _) = part.split_once('>').expect("a tag ends");
            let name = tag.split([' ', '/']).next().unwrap_or_default();
            match tag.strip_prefix('/') {
                Some(closed) => assert_eq!(open.pop(), Some(closed), "{tag}"),
                None if tag.ends_with('/') || ["!DOCTYPE", "meta"].contains(&name) => {}
                None => open.push(name),
            }
        }
        assert_eq!(open, Vec::<&str>::new());
    }

    #[test]
    fn a_page_is_well_formed_and_needs_nothing_from_elsewhere() {
        for loads in [1, 3] {
            let page = page(&report(loads), "");
            check_nesting(&page);
            for word in ["http", "url(", "src=", "<script", "@import", "NaN", "inf"] {
                assert!(!page.contains(word), "{word}");
            }
            assert_eq!(page.matches("<svg").count(), if loads == 1 { 3 } else { 4 });
            assert!(page.contains("2023-11-14 22:13 UTC"));
            assert!(page.contains("The objective was missed"));
        }
    }

    #[test]
    fn what_was_typed_can_not_become_part_of_the_page() {
        let page = page(&report(1), "<script>alert(1)</script>");
        assert!(
            page.contains("&lt;a &amp; &quot;b&quot;&gt;")
                && page.contains("something &lt;odd&gt;")
        );
        assert!(!page.contains("<script"));
    }
}
