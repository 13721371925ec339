//! Horizontal bars in segments, with what each bar is at its left and its sum at its right.

use super::{CHARACTER_WIDTH, Svg, figure, steps};

const WIDTH: f64 = 920.0;
const ROW: f64 = 32.0;
const THICKNESS: f64 = 20.0;
const TOP: f64 = 74.0;

/// A part of a bar.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    /// How long.
    pub value: f64,
    /// Its colour.
    pub colour: String,
}

/// One bar.
#[derive(Clone, Debug)]
pub(crate) struct Bar {
    /// What it is.
    pub label: String,
    /// Its parts, from the left.
    pub segments: Vec<Segment>,
    /// What stands at its right end.
    pub note: String,
}

/// A chart of bars.
#[derive(Clone, Debug)]
pub(crate) struct BarChart {
    /// What it shows.
    pub title: String,
    /// What to know of it.
    pub subtitle: String,
    /// Name and colour of segments; empty where there is one kind.
    pub legend: Vec<(String, String)>,
    /// The bars, from the top.
    pub bars: Vec<Bar>,
    /// What the axis counts.
    pub unit: String,
}

impl BarChart {
    /// Draws it.
    #[must_use]
    pub(crate) fn svg(&self) -> String {
        let width_of = |text: &str| text.chars().count() as f64 * CHARACTER_WIDTH;
        let widest =
            |texts: &mut dyn Iterator<Item = &str>| texts.map(width_of).fold(0.0, f64::max);
        let left = 30.0 + widest(&mut self.bars.iter().map(|bar| bar.label.as_str()));
        let notes = widest(&mut self.bars.iter().map(|bar| bar.note.as_str()));
        let right = WIDTH - 30.0;
        let top = if self.legend.is_empty() { TOP } else { TOP + 24.0 };
        let bottom = top + self.bars.len() as f64 * ROW;
        let mut svg = Svg::new(WIDTH, bottom + 48.0, &self.title, &self.subtitle);
        svg.legend(TOP, &self.legend);
        let sum = |bar: &Bar| bar.segments.iter().map(|segment| segment.value).sum::<f64>();
        let most = self.bars.iter().map(sum).fold(0.0, f64::max);
        // The longest bar leaves room for its note.
        let room = (right - left - notes - 10.0).max(80.0);
        let x = |value: f64| left + value / most.max(f64::MIN_POSITIVE) * room;
        for step in steps(most).into_iter().filter(|step| x(*step) <= right) {
            svg.line("grid", (x(step), top), (x(step), bottom));
            svg.label(x(step), bottom + 18.0, "soft small middle", &figure(step));
        }
        svg.label(right, bottom + 38.0, "soft small end", &self.unit);
        for (row, bar) in self.bars.iter().enumerate() {
            let y = top + row as f64 * ROW + (ROW - THICKNESS) / 2.0;
            svg.label(left - 10.0, y + 15.0, "end", &bar.label);
            let mut at = 0.0;
            for segment in bar.segments.iter().filter(|segment| segment.value > 0.0) {
                let (start, end) = (x(at), x(at + segment.value));
                svg.add(&format!(
                    "<rect x=\"{start:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{THICKNESS}\" \
                     fill=\"{}\"/>",
                    (end - start).max(1.0),
                    segment.colour
                ));
                at += segment.value;
            }
            svg.label(x(at) + 8.0, y + 15.0, "small", &bar.note);
        }
        svg.line("axis", (left, top), (left, bottom));
        svg.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_values_and_stay_within_the_drawing() {
        let segment = |value| Segment { value, colour: "var(--c0)".to_owned() };
        let bar = |label: &str, values: &[f64]| Bar {
            label: label.to_owned(),
            segments: values.iter().copied().map(segment).collect(),
            note: "1,000 bytes, 1,200 with TCP/IP".to_owned(),
        };
        let chart = BarChart {
            title: "a < b".to_owned(),
            subtitle: String::new(),
            legend: vec![("heads".to_owned(), "var(--c0)".to_owned())],
            bars: vec![bar("polling", &[600.0, 400.0]), bar("raw", &[0.0, 100.0])],
            unit: "bytes".to_owned(),
        };
        let svg = chart.svg();
        let widths: Vec<f64> = svg
            .lines()
            .filter(|line| line.contains("height=\"20\""))
            .map(|line| line.split("width=\"").nth(1).unwrap().split('"').next().unwrap())
            .map(|width| width.parse().unwrap())
            .collect();
        assert_eq!(widths.len(), 3, "{svg}");
        assert!((widths[0] / widths[1] - 1.5).abs() < 0.01, "{widths:?}");
        assert!(svg.contains("a &lt; b") && svg.ends_with("</svg>\n"));
    }
}
