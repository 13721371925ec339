//! Lines over two axes, each logarithmic or of percentiles, with names at their ends.

use super::{CHARACTER_WIDTH, Svg};

const WIDTH: f64 = 920.0;
const HEIGHT: f64 = 540.0;
const TOP: f64 = 98.0;
const BOTTOM: f64 = HEIGHT - 62.0;
const LEFT: f64 = 84.0;

/// Least distance of two names, in pixels.
const NAME_HEIGHT: f64 = 17.0;

/// How an axis counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    /// Powers of ten.
    Log,
    /// Parts of one, with as much room for each further nine.
    Percentile,
}

/// One axis.
#[derive(Clone, Debug)]
pub(crate) struct Axis {
    /// What it counts.
    pub title: String,
    /// How.
    pub scale: Scale,
    /// Its least and most value.
    pub range: (f64, f64),
    /// What the marks are multiplied with and called, such as µs as ms.
    pub label: fn(f64) -> String,
}

/// How a point is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// Not at all.
    None,
    /// Something measured.
    Dot,
    /// Something computed.
    Ring,
    /// Something that others say.
    Cross,
}

/// One line.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// Its name.
    pub name: String,
    /// Its colour.
    pub colour: String,
    /// Points, and how they are drawn.
    pub points: Vec<(f64, f64, Mark)>,
    /// Whether points are joined.
    pub is_joined: bool,
    /// Whether the line is dashed.
    pub is_dashed: bool,
}

/// A chart of lines.
#[derive(Clone, Debug)]
pub(crate) struct LineChart {
    /// What it shows.
    pub title: String,
    /// What to know of it.
    pub subtitle: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// The lines.
    pub lines: Vec<Line>,
}

impl Axis {
    /// A value's place on it, 0 to 1 within its range.
    fn place(&self, value: f64) -> f64 {
        let on_scale = |value: f64| match self.scale {
            Scale::Log => value.max(f64::MIN_POSITIVE).log10(),
            Scale::Percentile => -(1.0 - value.clamp(0.0, 0.999_99)).log10(),
        };
        let (least, most) = (on_scale(self.range.0), on_scale(self.range.1));
        ((on_scale(value) - least) / (most - least).max(f64::MIN_POSITIVE)).clamp(0.0, 1.0)
    }

    /// Where lines of the grid stand.
    fn marks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Log => {
                let first = self.range.0.log10().ceil() as i32;
                let last = (self.range.1.log10() + 1e-9).floor() as i32;
                (first..=last).map(|power| 10_f64.powi(power)).collect()
            }
            Scale::Percentile => {
                let all = [0.0, 0.5, 0.9, 0.99, 0.999, 0.999_9];
                all.into_iter().filter(|mark| *mark <= self.range.1).collect()
            }
        }
    }
}

impl LineChart {
    /// Draws it.
    #[must_use]
    pub(crate) fn svg(&self) -> String {
        let longest = self.lines.iter().map(|line| line.name.chars().count()).max();
        let right = WIDTH - 44.0 - longest.unwrap_or_default() as f64 * CHARACTER_WIDTH;
        let mut svg = Svg::new(WIDTH, HEIGHT, &self.title, &self.subtitle);
        let x = |value: f64| LEFT + self.x.place(value) * (right - LEFT);
        let y = |value: f64| BOTTOM - self.y.place(value) * (BOTTOM - TOP);
        for mark in self.x.marks() {
            svg.line("grid", (x(mark), TOP), (x(mark), BOTTOM));
            svg.label(x(mark), BOTTOM + 20.0, "soft small middle", &(self.x.label)(mark));
        }
        for mark in self.y.marks() {
            svg.line("grid", (LEFT, y(mark)), (right, y(mark)));
            svg.label(LEFT - 10.0, y(mark) + 4.0, "soft small end", &(self.y.label)(mark));
        }
        svg.line("axis", (LEFT, TOP), (LEFT, BOTTOM));
        svg.line("axis", (LEFT, BOTTOM), (right, BOTTOM));
        svg.label(f64::midpoint(LEFT, right), BOTTOM + 44.0, "soft small middle", &self.x.title);
        svg.label(20.0, TOP - 16.0, "soft small", &self.y.title);
        let place = |&(px, py, mark): &(f64, f64, Mark)| (x(px), y(py), mark);
        for line in &self.lines {
            let points: Vec<(f64, f64, Mark)> = line.points.iter().map(place).collect();
            draw(&mut svg, line, &points);
        }
        self.name_lines(&mut svg, right, (&x, &y));
        svg.finish()
    }

    /// Names stand behind the ends of their lines, moved apart where these meet.
    fn name_lines(
        &self,
        svg: &mut Svg,
        right: f64,
        (x, y): (&dyn Fn(f64) -> f64, &dyn Fn(f64) -> f64),
    ) {
        let mut names: Vec<(f64, &Line)> = self
            .lines
            .iter()
            .filter(|line| !line.name.is_empty())
            .filter_map(|line| Some((y(line.points.last()?.1), line)))
            .collect();
        names.sort_by(|a, b| a.0.total_cmp(&b.0));
        let ends: Vec<f64> = names.iter().map(|(end, _)| *end).collect();
        for ((end, line), at) in names.iter().zip(apart(&ends, TOP, BOTTOM)) {
            let last = line.points.last().map_or(right, |point| x(point.0));
            if line.is_joined && last < right {
                svg.add(&format!(
                    "<path d=\"M{last:.1} {end:.1}H{right:.1}\" stroke=\"{}\" \
                     stroke-dasharray=\"1 4\" fill=\"none\"/>",
                    line.colour
                ));
            }
            svg.add(&format!(
                "<path d=\"M{:.1} {end:.1}L{:.1} {at:.1}\" stroke=\"{}\" fill=\"none\"/>",
                right + 2.0,
                right + 18.0,
                line.colour
            ));
            svg.add(&format!(
                "<text class=\"small\" style=\"fill:{}\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                line.colour,
                right + 22.0,
                at + 4.0,
                super::escape(&line.name)
            ));
        }
    }
}

/// The same places in the same order, at least [`NAME_HEIGHT`] apart and between the bounds.
fn apart(places: &[f64], top: f64, bottom: f64) -> Vec<f64> {
    let mut moved: Vec<f64> = places.to_vec();
    let mut least = top;
    for place in &mut moved {
        *place = place.max(least);
        least = *place + NAME_HEIGHT;
    }
    let mut most = bottom;
    for place in moved.iter_mut().rev() {
        *place = place.min(most);
        most = *place - NAME_HEIGHT;
    }
    moved
}

fn draw(svg: &mut Svg, line: &Line, points: &[(f64, f64, Mark)]) {
    let colour = &line.colour;
    if line.is_joined && points.len() > 1 {
        let path: Vec<String> = points.iter().map(|(x, y, _)| format!("{x:.1} {y:.1}")).collect();
        let dashes = if line.is_dashed { " stroke-dasharray=\"6 5\"" } else { "" };
        svg.add(&format!(
            "<path d=\"M{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dashes}/>",
            path.join("L")
        ));
    }
    for (x, y, mark) in points {
        let element = match mark {
            Mark::None => continue,
            Mark::Dot => {
                format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4.5\" fill=\"{colour}\"/>")
            }
            Mark::Ring => format!(
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4.5\" fill=\"var(--paper)\" \
                 stroke=\"{colour}\" stroke-width=\"2\"/>"
            ),
            Mark::Cross => format!(
                "<path d=\"M{:.1} {:.1}l12 12m0 -12l-12 12\" stroke=\"{colour}\" \
                 stroke-width=\"2.5\"/>",
                x - 6.0,
                y - 6.0
            ),
        };
        svg.add(&element);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(scale: Scale, range: (f64, f64)) -> Axis {
        Axis { title: String::new(), scale, range, label: super::super::figure }
    }

    #[test]
    fn axes_place_values_by_their_scale() {
        let log = axis(Scale::Log, (1.0, 1_000.0));
        assert!((log.place(10.0) - 1.0 / 3.0).abs() < 1e-9);
        assert_eq!(log.marks(), [1.0, 10.0, 100.0, 1_000.0]);
        let percentile = axis(Scale::Percentile, (0.0, 0.999));
        assert!((percentile.place(0.9) - 1.0 / 3.0).abs() < 1e-9);
        assert_eq!(percentile.marks(), [0.0, 0.5, 0.9, 0.99, 0.999]);
        assert_eq!((log.place(0.0), log.place(1e9)), (0.0, 1.0), "what lies outside is at the end");
    }

    #[test]
    fn names_keep_their_distance_and_stay_within_the_drawing() {
        let moved = apart(&[10.0, 11.0, 12.0, 300.0, 395.0, 399.0], 0.0, 400.0);
        assert!(moved.windows(2).all(|pair| pair[1] - pair[0] >= NAME_HEIGHT - 1e-9), "{moved:?}");
        assert!(*moved.last().unwrap() <= 400.0 && moved[3] == 300.0);
    }
}
