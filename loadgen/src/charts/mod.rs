//! Charts as SVG that stands alone, in a page or as an image, in light and in dark.
//!
//! Owns how charts look. Colours are variables that follow `prefers-color-scheme`; no script, no
//! font and nothing else from elsewhere. What is drawn is the caller's.

mod bars;
mod lines;

use std::fmt::Write;

pub(crate) use bars::{Bar, BarChart, Segment};
pub(crate) use lines::{Axis, Line, LineChart, Mark, Scale};

/// Colours of all charts, for light and for dark. They are chosen to be told apart with the
/// common colour blindnesses too, and by their lightness.
const STYLE: &str = "\
.chart{--paper:#ffffff;--ink:#1b2430;--soft:#5a6675;--grid:#e1e6ec;--c0:#b5482f;--c1:#d99a1c;\
--c2:#3f8f6b;--c3:#2b6cb0;--c4:#7b5bb5;--c5:#0f7f8c;--c6:#111827;--c7:#a33b78;--c8:#5c6b1f;\
--computed:#aab4c0}\
@media(prefers-color-scheme:dark){.chart{--paper:#14191f;--ink:#e8edf3;--soft:#9aa7b5;\
--grid:#2a323c;--c0:#f08a6c;--c1:#f2c14e;--c2:#7ecfa6;--c3:#74b3f0;--c4:#b79bee;--c5:#5fd0dc;\
--c6:#ffffff;--c7:#ee8fc6;--c8:#bccb6a;--computed:#5b6775}}\
.chart text{font:13px system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;fill:var(--ink)}\
.chart .title{font-size:17px;font-weight:600}.chart .soft{fill:var(--soft)}\
.chart .small{font-size:12px}.chart .grid{stroke:var(--grid);stroke-width:1}\
.chart .axis{stroke:var(--soft);stroke-width:1}.chart .end{text-anchor:end}\
.chart .middle{text-anchor:middle}";

/// A colour by its number; there are nine.
#[must_use]
pub(crate) fn colour(number: usize) -> String {
    format!("var(--c{})", number % 9)
}

/// The colour of what is computed.
pub(crate) const COMPUTED: &str = "var(--computed)";

/// Average width of a character of chart text, in pixels; only used to leave enough room.
const CHARACTER_WIDTH: f64 = 6.9;

/// A drawing under way.
#[derive(Debug)]
struct Svg {
    text: String,
    width: f64,
}

impl Svg {
    /// An empty drawing with its title, for people who see it and for those who do not.
    fn new(width: f64, height: f64, title: &str, subtitle: &str) -> Self {
        let mut text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"chart\" viewBox=\"0 0 {width} \
             {height}\" role=\"img\" aria-label=\"{label}\">\n<style>{STYLE}</style>\n\
             <rect width=\"{width}\" height=\"{height}\" rx=\"6\" fill=\"var(--paper)\"/>\n",
            label = escape(title)
        );
        let _ = writeln!(text, "<text class=\"title\" x=\"20\" y=\"30\">{}</text>", escape(title));
        let mut svg = Self { text, width };
        svg.label(20.0, 50.0, "soft small", subtitle);
        svg
    }

    fn label(&mut self, x: f64, y: f64, class: &str, text: &str) {
        let text = escape(text);
        self.add(&format!("<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>"));
    }

    fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let ((x1, y1), (x2, y2)) = (from, to);
        self.add(&format!(
            "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"
        ));
    }

    /// The legend in lines that fit the width, from `y` on.
    fn legend(&mut self, y: f64, entries: &[(String, String)]) {
        let (mut x, mut y) = (20.0, y);
        for (name, colour) in entries {
            let width = 34.0 + name.chars().count() as f64 * CHARACTER_WIDTH;
            if x + width > self.width - 10.0 {
                (x, y) = (20.0, y + 20.0);
            }
            self.add(&format!(
                "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"12\" height=\"12\" rx=\"2\" \
                 fill=\"{colour}\"/>",
                y - 10.0
            ));
            self.label(x + 18.0, y, "small", name);
            x += width;
        }
    }

    fn add(&mut self, element: &str) {
        self.text.push_str(element);
        self.text.push('\n');
    }

    fn finish(mut self) -> String {
        self.text.push_str("</svg>\n");
        self.text
    }
}

/// Text as it may stand in XML and HTML, in attributes too.
#[must_use]
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // Nothing that XML cannot hold comes from our own results, but files may be edited.
            c if c.is_control() && c != '\n' => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

/// A number with as many digits as a person wants to see.
#[must_use]
pub(crate) fn figure(number: f64) -> String {
    match number.abs() {
        _ if !number.is_finite() => "–".to_owned(),
        0.0 => "0".to_owned(),
        ..0.01 => trimmed(format!("{number:.4}")),
        ..1.0 => trimmed(format!("{number:.3}")),
        ..10.0 => trimmed(format!("{number:.2}")),
        ..100.0 => trimmed(format!("{number:.1}")),
        _ => crate::table::count(number.round().max(0.0) as u64),
    }
}

/// Without zeros that say nothing.
fn trimmed(text: String) -> String {
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Round steps of an axis from 0 to `most`: 1, 2 or 5 times a power of ten, four to eight of them.
#[must_use]
fn steps(most: f64) -> Vec<f64> {
    if most <= 0.0 || !most.is_finite() {
        return vec![0.0, 1.0];
    }
    let raw = most / 6.0;
    let power = 10_f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
    let step = step.into_iter().find(|step| *step >= raw).unwrap_or(power * 10.0);
    let count = (most / step).ceil() as usize;
    (0..=count).map(|number| number as f64 * step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_the_digits_that_they_need() {
        let told = [0.0, 0.1526, 1.0, 2.5, 66.04, 871.0, 12_345.6, f64::NAN].map(figure);
        assert_eq!(told, ["0", "0.153", "1", "2.5", "66", "871", "12,346", "–"]);
        assert_eq!(figure(0.0015), "0.0015");
    }

    #[test]
    fn an_axis_has_round_steps_up_to_its_most() {
        assert_eq!(steps(1_070.0), [0.0, 200.0, 400.0, 600.0, 800.0, 1_000.0, 1_200.0]);
        assert_eq!(steps(0.0), [0.0, 1.0]);
        for most in [0.003, 7.0, 66.0, 99_999.0] {
            let steps = steps(most);
            assert!((4..=9).contains(&steps.len()), "{most}: {steps:?}");
            assert!(*steps.last().unwrap() >= most);
        }
    }

    #[test]
    fn text_cannot_end_an_attribute_or_begin_an_element() {
        assert_eq!(
            escape("<a b=\"c\" d='e'>&\u{1}"),
            "&lt;a b=&quot;c&quot; d=&#39;e&#39;&gt;&amp; "
        );
    }
}
