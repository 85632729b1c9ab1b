//! Charts as SVG: axes with units, lines, a legend. Drawn by hand, since a page that is read on a phone, in the dark and on paper
//! takes its colours from its style, not from the drawing.

use std::fmt::Write;

use crate::units::time;

/// A drawing's size in its own units; a page scales it. At the width of a phone, text of 14 has 10 points.
const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 310.0;
/// Around the plot: axes and their labels.
const LEFT: f64 = 82.0;
const RIGHT: f64 = 18.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 54.0;
/// Half the width of a letter.
const LETTER: f64 = 4.0;
/// Most ticks of a linear axis.
const TICKS_MAX: f64 = 6.0;

/// How values are placed along an axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Scale {
    /// Evenly, between two values.
    Linear(f64, f64),
    /// By their logarithm, between two values above 0.
    Log(f64, f64),
}

/// An axis.
#[derive(Debug, Clone)]
pub(super) struct Axis {
    /// What it is of, with the unit.
    pub(super) title: String,
    /// How values are placed.
    pub(super) scale: Scale,
    /// Values with a line and a label.
    pub(super) ticks: Vec<(f64, String)>,
}

/// A line of a chart.
#[derive(Debug, Clone)]
pub(super) struct Line {
    /// What it is, for the legend.
    pub(super) name: String,
    /// Which of the page's colours it has: 1 to 4, the last of them wide and pale.
    pub(super) colour: usize,
    /// Runs of points; between runs there is a gap.
    pub(super) runs: Vec<Vec<(f64, f64)>>,
}

/// An objective: what the curve is to stay below, up to here.
#[derive(Debug, Clone)]
pub(super) struct Mark {
    /// What it is.
    pub(super) name: String,
    /// How far.
    pub(super) x: f64,
    /// Below what.
    pub(super) y: f64,
    /// Whether it does: then there is room above it for its name, or else below.
    pub(super) met: bool,
}

impl Scale {
    /// Where a value is, from 0 to 1.
    fn place(self, value: f64) -> f64 {
        let place = match self {
            Self::Linear(from, to) => (value - from) / (to - from),
            Self::Log(from, to) => (value / from).ln() / (to / from).ln(),
        };
        place.clamp(0.0, 1.0)
    }
}

impl Axis {
    /// From 0 to a value and a little more, with round ticks.
    pub(super) fn linear(title: &str, most: f64, label: impl Fn(f64) -> String) -> Self {
        let most = if most > 0.0 { most } else { 1.0 };
        let step = round_step(most / TICKS_MAX);
        let end = (most / step).ceil() * step;
        Self {
            title: title.to_owned(),
            scale: Scale::Linear(0.0, end),
            ticks: (0..=(end / step).round() as u32)
                .map(|n| (f64::from(n) * step, label(f64::from(n) * step)))
                .collect(),
        }
    }

    /// Over these seconds, to their very end.
    pub(super) fn seconds(title: &str, end: f64) -> Self {
        let mut axis = Self::linear(title, end, plain);
        axis.scale = Scale::Linear(0.0, end);
        axis.ticks.retain(|(value, _)| *value <= end * 1.000_001);
        axis
    }

    /// Latencies in nanoseconds by their logarithm, with a tick at each power of ten, and between where those are few.
    pub(super) fn latency(title: &str, least: f64, most: f64) -> Self {
        let (least, most) = (least.max(1.0), most.max(10.0));
        let (from, to) = (
            10_f64.powf(least.log10().floor()),
            10_f64.powf(most.log10().ceil()),
        );
        let to = if to <= from { from * 10.0 } else { to };
        let decades = (to / from).log10().round() as i32;
        let between: &[f64] = if decades <= 2 {
            &[1.0, 2.0, 5.0]
        } else {
            &[1.0]
        };
        let mut ticks = Vec::new();
        for decade in 0..=decades {
            for factor in between {
                let value = from * 10_f64.powi(decade) * factor;
                if value <= to * 1.000_001 {
                    ticks.push((value, short_time(value)));
                }
            }
        }
        Self {
            title: title.to_owned(),
            scale: Scale::Log(from, to),
            ticks,
        }
    }

    /// Percentiles, each step of ten as far as the last: 90, 99, 99.9 …; values are `1 / (1 - quantile)`, up to that of one message of
    /// all.
    pub(super) fn percentiles(title: &str, most: f64) -> Self {
        let most = most.max(100.0);
        let label = |decade: usize| match decade {
            1 => "90".to_owned(),
            2 => "99".to_owned(),
            _ => format!("99.{}", "9".repeat(decade - 2)),
        };
        let decades = (most * 1.000_001).log10().floor() as usize;
        let mut ticks = vec![(2.0, "50".to_owned())];
        ticks.extend((1..=decades).map(|decade| (10_f64.powi(decade as i32), label(decade))));
        Self {
            title: title.to_owned(),
            scale: Scale::Log(1.0, most),
            ticks,
        }
    }

    /// Rates by their logarithm, with a tick at each of these.
    pub(super) fn rates(title: &str, rates: &[f64], label: impl Fn(f64) -> String) -> Self {
        let least = rates.iter().copied().fold(f64::MAX, f64::min);
        let most = rates.iter().copied().fold(0.0, f64::max);
        let (from, to) = (least / 1.1, most * 1.1);
        let mut ticks: Vec<(f64, String)> = Vec::new();
        let mut sorted = rates.to_vec();
        sorted.sort_by(f64::total_cmp);
        let apart = (to / from).ln() / TICKS_MAX;
        for rate in sorted {
            if ticks
                .last()
                .is_none_or(|(last, _)| (rate / last).ln() >= apart)
            {
                ticks.push((rate, label(rate)));
            }
        }
        Self {
            title: title.to_owned(),
            scale: Scale::Log(from, to),
            ticks,
        }
    }
}

/// The next of 1, 2 and 5 times a power of ten.
fn round_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    let factor = [1.0, 2.0, 5.0]
        .into_iter()
        .find(|factor| factor * power >= least * 0.999_999);
    factor.unwrap_or(10.0) * power
}

/// A number without needless digits.
pub(super) fn plain(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A rate for an axis, with three digits: `20k`, `1.5M`.
pub(super) fn short_rate(value: f64) -> String {
    let (value, unit) = match value {
        1e6.. => (value / 1e6, "M"),
        1e3.. => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let digits = match value {
        100.0.. => value.round(),
        10.0.. => (value * 10.0).round() / 10.0,
        _ => value,
    };
    plain(digits) + unit
}

/// A round time for an axis: `5 ms`.
fn short_time(ns: f64) -> String {
    let text = time(ns.round() as u64);
    match text.split_once(' ') {
        Some((number, unit)) if number.contains('.') => {
            format!(
                "{} {unit}",
                number.trim_end_matches('0').trim_end_matches('.')
            )
        }
        _ => text,
    }
}

/// A chart. Lines are drawn in their order, marks behind them.
pub(super) fn chart(name: &str, x: &Axis, y: &Axis, lines: &[Line], marks: &[Mark]) -> String {
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n",
        escaped(name)
    );
    axes(&mut svg, x, y);
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    for mark in marks {
        draw_mark(&mut svg, mark, x, y);
    }
    for line in lines {
        for run in &line.runs {
            draw(&mut svg, line, run, x, y);
        }
    }
    add(
        &mut svg,
        format_args!("<path class=\"frame\" d=\"M{LEFT} {TOP}V{bottom}H{right}\"/>"),
    );
    svg + "</svg>\n"
}

fn axes(svg: &mut String, x: &Axis, y: &Axis) {
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    for (value, label) in &y.ticks {
        let at = y_of(y, *value);
        add(
            svg,
            format_args!(
                "<line class=\"grid\" x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{right}\" y2=\"{at:.1}\"/>"
            ),
        );
        add(
            svg,
            format_args!(
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 7.0,
                at + 4.5,
                escaped(label)
            ),
        );
    }
    let mut taken_until = 0.0;
    for (value, label) in &x.ticks {
        let at = x_of(x, *value);
        add(
            svg,
            format_args!(
                "<line class=\"grid\" x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{bottom}\"/>"
            ),
        );
        // A label at the very end stays within the drawing.
        let half = label.chars().count() as f64 * LETTER;
        let (anchor, at, from) = match at + half > WIDTH {
            true => ("end", WIDTH, WIDTH - 2.0 * half),
            false => ("middle", at, at - half),
        };
        // One that would touch the label before it is left out.
        if from < taken_until + LETTER {
            continue;
        }
        taken_until = from + 2.0 * half;
        add(
            svg,
            format_args!(
                "<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
                bottom + 18.0,
                escaped(label)
            ),
        );
    }
    let middle = (LEFT + right) / 2.0;
    add(
        svg,
        format_args!(
            "<text class=\"title\" x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            HEIGHT - 10.0,
            escaped(&x.title)
        ),
    );
    let middle = (TOP + bottom) / 2.0;
    add(
        svg,
        format_args!(
            "<text class=\"title\" transform=\"translate(13 {middle}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            escaped(&y.title)
        ),
    );
}

/// A dashed line up to its end, with its name on the side that the curve is not on.
fn draw_mark(svg: &mut String, mark: &Mark, x: &Axis, y: &Axis) {
    let (class, end, at) = (
        if mark.met { "good" } else { "bad" },
        x_of(x, mark.x),
        y_of(y, mark.y),
    );
    add(
        svg,
        format_args!("<path class=\"mark {class}\" d=\"M{LEFT} {at:.1}H{end:.1}\"/>"),
    );
    add(
        svg,
        format_args!("<circle class=\"mark {class}\" cx=\"{end:.1}\" cy=\"{at:.1}\" r=\"4\"/>"),
    );
    let wide = mark.name.chars().count() as f64 * 2.0 * LETTER;
    let (anchor, from) = match mark.met || end + wide > WIDTH - RIGHT {
        true if end - wide < LEFT => ("start", LEFT + 4.0),
        true => ("end", end - 6.0),
        false => ("start", end + 7.0),
    };
    // Where there is no room below, it would lie on the axis' labels.
    let (above, below) = (at > TOP + 18.0, at + 20.0 < HEIGHT - BOTTOM);
    let beside = if above && (mark.met || !below) {
        at - 7.0
    } else {
        at + 17.0
    };
    let name = escaped(&mark.name);
    add(
        svg,
        format_args!(
            "<text class=\"mark {class}\" x=\"{from:.1}\" y=\"{beside:.1}\" text-anchor=\"{anchor}\">{name}</text>"
        ),
    );
}

/// One run of points; a single one as a dot.
fn draw(svg: &mut String, line: &Line, run: &[(f64, f64)], x: &Axis, y: &Axis) {
    let colour = line.colour;
    if let [(at, value)] = run {
        add(
            svg,
            format_args!(
                "<circle class=\"dot c{colour}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\"/>",
                x_of(x, *at),
                y_of(y, *value)
            ),
        );
        return;
    }
    let mut points = String::new();
    for (at, value) in run {
        write!(points, "{:.1},{:.1} ", x_of(x, *at), y_of(y, *value))
            .expect("a text takes what is written");
    }
    add(
        svg,
        format_args!(
            "<polyline class=\"line c{colour}\" points=\"{}\"/>",
            points.trim_end()
        ),
    );
}

fn x_of(axis: &Axis, value: f64) -> f64 {
    LEFT + axis.scale.place(value) * (WIDTH - LEFT - RIGHT)
}

fn y_of(axis: &Axis, value: f64) -> f64 {
    HEIGHT - BOTTOM - axis.scale.place(value) * (HEIGHT - TOP - BOTTOM)
}

fn add(svg: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(svg, "{line}").expect("a text takes what is written");
}

/// A text as it stands in a page.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_place_their_ends_and_middle() {
        let places = |scale: Scale, values: [f64; 3]| {
            values.map(|value| (scale.place(value) * 1e6).round() / 1e6)
        };
        assert_eq!(
            places(Scale::Linear(0.0, 10.0), [0.0, 5.0, 20.0]),
            [0.0, 0.5, 1.0]
        );
        assert_eq!(
            places(Scale::Log(1.0, 100.0), [1.0, 10.0, 100.0]),
            [0.0, 0.5, 1.0]
        );
    }

    #[test]
    fn a_marks_name_lies_within_the_plot() {
        let x = Axis::percentiles("x", 100.0);
        let y = Axis::latency("y", 1_000.0, 1e6);
        for (at, met) in [(1e3, true), (1e3, false), (1e6, true), (1e6, false)] {
            let mark = Mark {
                name: "p99".to_owned(),
                x: 100.0,
                y: at,
                met,
            };
            let svg = chart("c", &x, &y, &[], &[mark]);
            let (_, text) = svg.split_once("<text class=\"mark").unwrap();
            let (_, from) = text.split_once(" y=\"").unwrap();
            let (from, _) = from.split_once('"').unwrap();
            let from: f64 = from.parse().unwrap();
            assert!((TOP + 10.0..HEIGHT - BOTTOM).contains(&from), "{from}");
        }
    }

    #[test]
    fn labels_do_not_touch() {
        let x = Axis::percentiles("x", 8e6);
        let labels: Vec<&str> = x.ticks.iter().map(|(_, label)| label.as_str()).collect();
        assert_eq!(labels[labels.len() - 2..], ["99.999", "99.9999"]);
        let svg = chart("c", &x, &Axis::latency("y", 1_000.0, 1e6), &[], &[]);
        assert!(svg.contains(">99.999<") && !svg.contains(">99.9999<"));
    }

    #[test]
    fn a_label_at_the_very_end_does_not_touch_the_one_before_it() {
        // The last is moved to the left, so that it stays within the drawing: then there is no room for it.
        let x = Axis::percentiles("x", 1e6);
        let svg = chart("c", &x, &Axis::latency("y", 1_000.0, 1e6), &[], &[]);
        assert!(svg.contains(">99.999<") && !svg.contains(">99.9999<"));
    }

    #[test]
    fn ticks_are_round_and_have_units() {
        let labels = |axis: Axis| {
            axis.ticks
                .into_iter()
                .map(|(_, label)| label)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            labels(Axis::linear("x", 95_000.0, short_rate)),
            ["0", "20k", "40k", "60k", "80k", "100k"]
        );
        assert_eq!(
            labels(Axis::latency("y", 30_000.0, 4e6)),
            ["10 µs", "100 µs", "1 ms", "10 ms"]
        );
        assert_eq!(
            labels(Axis::latency("y", 2e6, 3e6)),
            ["1 ms", "2 ms", "5 ms", "10 ms"]
        );
        assert_eq!(
            labels(Axis::percentiles("x", 20_000.0)),
            ["50", "90", "99", "99.9", "99.99"]
        );
        assert_eq!(labels(Axis::percentiles("x", 5.0)), ["50", "90", "99"]);
        assert_eq!(
            labels(Axis::seconds("t", 10.0)),
            ["0", "2", "4", "6", "8", "10"]
        );
        assert_eq!(labels(Axis::linear("x", 0.0, plain))[0], "0");
        let rates = [28_284.3, 1_234_567.0, 250_400.0, 0.5];
        assert_eq!(rates.map(short_rate), ["28.3k", "1.23M", "250k", "0.5"]);
    }
}
