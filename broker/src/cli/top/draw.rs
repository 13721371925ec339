//! How a view looks, on a terminal of any size or as plain text. Nothing here is computed.

use fanfare_engine::ConnectionState;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Widget};

use super::super::table::{Column, Table, number, text};
use super::super::units::{amount, bytes, or_dash, percent, time_ms};
use super::model::{Figures, Quantile, Rates, ShardFigures};
use super::scrape::{Rows, Wanted};

/// Everything that is shown.
#[derive(Debug)]
pub(super) struct View<'a> {
    pub(super) address: &'a str,
    pub(super) figures: &'a Figures,
    pub(super) rows: &'a Rows,
    pub(super) wanted: Wanted,
    /// Why what is shown is not new.
    pub(super) trouble: Option<&'a str>,
    /// Whether somebody sits before it who can press keys.
    pub(super) takes_keys: bool,
}

/// Lines of a screen below which none is left blank.
const LOW: u16 = 20;

/// A shard is as busy as it should be, and more than that, from here on.
const BUSY: f64 = 0.7;
const TOO_BUSY: f64 = 0.9;

impl View<'_> {
    /// Draws it on all of `area`.
    pub(super) fn draw(&self, area: Rect, buffer: &mut Buffer) {
        let width = usize::from(area.width);
        let is_low = area.height < LOW;
        let mut head = self.head(width, is_low);
        let mut shards = self.shards(width, usize::from(area.height) / 3);
        let mut table = self.table(width);
        if is_low {
            head.truncate(usize::from(area.height) * 2 / 5);
        } else {
            shards.insert(0, Line::default());
            table.insert(0, Line::default());
        }
        let rows = [
            Constraint::Length(head.len() as u16),
            Constraint::Length(shards.len() as u16),
            Constraint::Fill(1),
        ];
        let [above, middle, below] = Layout::vertical(rows).areas(area);
        Paragraph::new(head).render(above, buffer);
        Paragraph::new(shards).render(middle, buffer);
        Paragraph::new(table).render(below, buffer);
    }

    /// The same as plain text, without spaces at the ends of lines.
    pub(super) fn text(&self, width: u16, rows_max: u16) -> String {
        let height = 16 + 3 * self.figures.shards.len().min(100) as u16 + rows_max;
        let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
        self.draw(buffer.area, &mut buffer);
        let line = |y| -> String { (0..width).map(|x| buffer[(x, y)].symbol()).collect() };
        let lines: Vec<String> = (0..height).map(|y| line(y).trim_end().to_owned()).collect();
        lines.join("\n").trim_end().to_owned() + "\n"
    }

    /// The figures. Where the screen is low, each group has one line with what fits.
    fn head(&self, width: usize, is_low: bool) -> Vec<Line<'static>> {
        let lines_max = if is_low { 1 } else { usize::MAX };
        let flow = |items| flow(items, width, lines_max);
        let figures = self.figures;
        let ready = match figures.is_ready {
            true => "ready".green(),
            false => "not ready".red().bold(),
        };
        let first = vec![
            vec![format!("fanfare {}", figures.version).bold()],
            pair("node", figures.node.clone()),
            pair("up", time_ms(figures.uptime.as_millis() as u64)),
            vec![ready],
            vec![self.address.to_owned().dim()],
        ];
        let mut lines = flow(first);
        if let Some(trouble) = self.trouble {
            lines.push(Line::from(trouble.to_owned()).red().bold());
        }
        lines.extend(flow(connections(figures)));
        match &figures.rates {
            Some(rates) => rates_groups(rates).into_iter().for_each(|one| lines.extend(flow(one))),
            None => lines.push(Line::from("rates follow").dim()),
        }
        lines.extend(flow(turnover(figures)));
        let mut holdings = vec![
            pair("memory", bytes(figures.resident_bytes)),
            pair("outboxes", bytes(figures.outbox_bytes)),
            pair("history", bytes(figures.history_bytes)),
        ];
        if let Some(rates) = &figures.rates {
            holdings.push(pair("cores", format!("{:.2}", rates.cores)));
        }
        lines.extend(flow(holdings));
        lines
    }

    /// The shards, those with most work first where not all fit into `height`.
    fn shards(&self, width: usize, height: usize) -> Vec<Line<'static>> {
        let mut shown: Vec<&ShardFigures> = self.figures.shards.iter().collect();
        let room = height.saturating_sub(1).max(1);
        if shown.len() > room {
            shown.sort_by(|one, other| other.busy_ratio.total_cmp(&one.busy_ratio));
            shown.truncate(room);
        }
        let mut table = Table::new(SHARDS);
        shown.iter().for_each(|shard| table.push(shard_cells(shard)));
        let widths = table.fit(width);
        let mut lines = vec![title(table.title_line(&widths))];
        let rows = table.row_lines(&widths).zip(shown);
        lines.extend(rows.map(|(row, shard)| Line::styled(row, busy_style(shard.busy_ratio))));
        lines
    }

    fn table(&self, width: usize) -> Vec<Line<'static>> {
        let (name, order) = self.wanted.names();
        let mut above = vec![vec![format!("{name} by {order}").bold()]];
        if self.takes_keys {
            let other = if self.wanted.shows_topics { "connections" } else { "topics" };
            above.push(pair("s", "next order".to_owned()));
            above.push(pair("t", other.to_owned()));
            above.push(pair("q", "quit".to_owned()));
        }
        let table = self.rows.table();
        let widths = table.fit(width);
        let mut lines = flow(above, width, 1);
        lines.push(title(table.title_line(&widths)));
        let mut states = self.rows.states();
        lines.extend(table.row_lines(&widths).map(|row| {
            let style = states.next().map_or_else(Style::default, state_style);
            Line::styled(row, style)
        }));
        lines
    }
}

/// A name and what it is.
fn pair(name: &'static str, value: String) -> Vec<Span<'static>> {
    vec![name.dim(), " ".into(), value.into()]
}

/// Sets items one beside the other, on as many lines as they need and may have.
fn flow(items: Vec<Vec<Span<'static>>>, width: usize, lines_max: usize) -> Vec<Line<'static>> {
    let mut lines = vec![Line::default()];
    for item in items {
        let item_width: usize = item.iter().map(Span::width).sum();
        let line_width = lines.last().map_or(0, Line::width);
        if line_width > 0 && line_width + 3 + item_width > width {
            if lines.len() == lines_max {
                break;
            }
            lines.push(Line::default());
        }
        let Some(line) = lines.last_mut() else { continue };
        if line.width() > 0 {
            line.push_span("   ");
        }
        item.into_iter().for_each(|span| line.push_span(span));
    }
    lines
}

fn connections(figures: &Figures) -> Vec<Vec<Span<'static>>> {
    let mut items = vec![pair("connections", figures.connections.to_string())];
    for (state, count) in &figures.states {
        let style = if *count > 0 { state_style(state) } else { Style::default() };
        items.push(vec![state.dim(), " ".into(), Span::styled(count.to_string(), style)]);
    }
    items
}

fn per_second(n: f64) -> String {
    format!("{}/s", amount(n))
}

/// What else there is, and how fast connections come and go.
fn turnover(figures: &Figures) -> Vec<Vec<Span<'static>>> {
    let mut items = vec![
        pair("topics", figures.topics.to_string()),
        pair("subscriptions", figures.subscriptions.to_string()),
        pair("http", figures.http_connections.to_string()),
    ];
    if let Some(rates) = &figures.rates {
        items.push(pair("opened", per_second(rates.opened)));
        items.push(pair("closed", per_second(rates.closed)));
    }
    items
}

/// What happened, and how well.
fn rates_groups(rates: &Rates) -> [Vec<Vec<Span<'static>>>; 2] {
    let bytes_per_second = |n: f64| format!("{}/s", bytes(n as u64));
    let traffic = vec![
        pair("published", per_second(rates.published)),
        pair("delivered", per_second(rates.delivered)),
        pair("in", bytes_per_second(rates.in_bytes)),
        pair("out", bytes_per_second(rates.out_bytes)),
    ];
    let quality = vec![
        pair("latency p50", or_dash(rates.p50, quantile)),
        pair("p99", or_dash(rates.p99, quantile)),
        pair("merged", per_second(rates.merged)),
        pair("lost", per_second(rates.lost)),
    ];
    [traffic, quality]
}

fn quantile(quantile: Quantile) -> String {
    let time = |seconds: f64| match seconds {
        s if s < 0.000_999_5 => format!("{:.0} µs", s * 1e6),
        s if s < 0.009_995 => format!("{:.2} ms", s * 1e3),
        s if s < 0.999_5 => format!("{:.0} ms", s * 1e3),
        s => format!("{s:.1} s"),
    };
    match quantile {
        Quantile::Seconds(seconds) => time(seconds),
        Quantile::Over(seconds) => format!("> {}", time(seconds)),
    }
}

const SHARDS: &[Column] = &[
    text("shard"),
    number("busy"),
    text("          "),
    number("connections"),
    number("mailbox"),
    number("delivered"),
    number("outboxes"),
    number("mail bytes"),
    number("last tick"),
];

fn shard_cells(shard: &ShardFigures) -> [String; SHARDS.len()] {
    [
        shard.shard.to_string(),
        percent(shard.busy_ratio),
        bar(shard.busy_ratio),
        shard.connections.to_string(),
        shard.mailbox_messages.to_string(),
        or_dash(shard.delivered, |rate| format!("{}/s", amount(rate))),
        bytes(shard.outbox_bytes),
        bytes(shard.mailbox_bytes as u64),
        time_ms(shard.tick_age_ms),
    ]
}

/// A bar of up to ten characters, in halves.
fn bar(ratio: f64) -> String {
    let halves = (ratio.clamp(0.0, 1.0) * 20.0).round() as usize;
    "█".repeat(halves / 2) + if halves % 2 == 1 { "▌" } else { "" }
}

fn title(text: String) -> Line<'static> {
    Line::styled(text, Modifier::UNDERLINED)
}

fn busy_style(ratio: f64) -> Style {
    match ratio {
        r if r >= TOO_BUSY => Color::Red.into(),
        r if r >= BUSY => Color::Yellow.into(),
        _ => Style::default(),
    }
}

fn state_style(state: &str) -> Style {
    match state {
        _ if state == ConnectionState::Stalled.name() => Color::Red.into(),
        _ if state == ConnectionState::Lagging.name() => Color::Yellow.into(),
        _ if state == ConnectionState::Blocked.name() => Color::Cyan.into(),
        _ => Style::default(),
    }
}

#[cfg(test)]
#[path = "draw_tests.rs"]
mod tests;
