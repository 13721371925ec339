//! What stands on screens of several sizes.

use std::borrow::Cow;
use std::time::Instant;

use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::super::model::tests::{scrape, shard};
use super::*;
use crate::admin::{Connection, Topic};

fn connection(name: &str, state: &'static str, buffered_amount: usize) -> Connection {
    Connection {
        connection: name.to_owned(),
        name: Some("desk \u{1b}[31m7".to_owned()),
        peer: Some("10.0.0.7:51234".to_owned()),
        protocol: Cow::Borrowed("fanfare.v1.json"),
        state: Cow::Borrowed(state),
        age_s: 61,
        buffered_amount,
        kernel_bytes: 0,
        oldest_unsent_ms: Some(2_500),
        subscriptions_all: 1,
        subscriptions_latest: 2,
        topics_behind: 3,
        messages_merged: 4,
        messages_lost: 5,
    }
}

fn rows() -> Rows {
    let worst = connection("5f0c93aa-0-1", "stalled", 70_000);
    Rows::Connections(vec![worst, connection("5f0c93aa-1-2", "open", 0)])
}

fn figures() -> Figures {
    let start = Instant::now();
    let metrics = |n: u64| {
        let bucket = format!("fanfare_delivery_seconds_bucket{{le=\"0.001\"}} {n}\n");
        format!("fanfare_messages_out_total {n}\n{bucket}")
    };
    let before = scrape(start, 0.0, &metrics(0));
    let mut figures = Figures::between(Some(&before), &scrape(start, 1.0, &metrics(12_345)));
    figures.shards = (0..2).map(|_| figures.shards[0].clone()).collect();
    figures.shards[1].busy_ratio = 0.95;
    figures.shards[1].shard = 1;
    figures
}

fn screen(view: &View<'_>, width: u16, height: u16) -> (String, Buffer) {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view.draw(frame.area(), frame.buffer_mut())).unwrap();
    let buffer = terminal.backend().buffer().clone();
    let lines = buffer.content().chunks(usize::from(width.max(1)));
    let line = |cells: &[ratatui::buffer::Cell]| -> String {
        cells.iter().map(ratatui::buffer::Cell::symbol).collect()
    };
    (lines.map(line).collect::<Vec<_>>().join("\n"), buffer)
}

fn with_view<R>(check: impl FnOnce(View<'_>) -> R) -> R {
    let (figures, rows) = (figures(), rows());
    check(View {
        address: "127.0.0.1:8081",
        figures: &figures,
        rows: &rows,
        wanted: Wanted::WORST,
        trouble: None,
        takes_keys: true,
    })
}

#[test]
fn a_usual_terminal_shows_all_that_matters() {
    let (text, buffer) = with_view(|view| screen(&view, 80, 24));
    for part in [
        "fanfare 0.1.0   node 5f0c93aa   up 1h 00m   ready   127.0.0.1:8081",
        "connections 7   open 5   blocked 0   lagging 0   stalled 2",
        "delivered 12.3 k/s",
        "latency p50 500 µs   p99 990 µs",
        "95 %  █████████▌",
        "connections by buffered_amount   s next order   t topics   q quit",
        "5f0c93aa-0-1  stalled  68.4 KiB   2.5 s",
    ] {
        assert!(text.contains(part), "{part:?} is missing\n{text}");
    }
    let row = text.lines().position(|line| line.starts_with("5f0c93aa-0-1")).unwrap();
    assert_eq!(buffer[(0, row as u16)].fg, Color::Red, "a stalled connection");
    assert_eq!(buffer[(0, row as u16 + 1)].fg, Color::Reset, "an open one");
}

#[test]
fn a_wide_terminal_has_room_for_every_column() {
    let (text, _) = with_view(|view| screen(&view, 200, 50));
    assert!(text.contains("10.0.0.7:51234"), "{text}");
    assert!(text.contains("desk \u{fffd}[31m7"), "what a client says cannot reach the terminal");
}

#[test]
fn small_terminals_show_what_fits_and_none_is_too_small() {
    let (text, _) = with_view(|view| screen(&view, 40, 10));
    for part in ["fanfare 0.1.0", "connections 7", "delivered", "p99", "95 %", "5f0c93aa-0-1"] {
        assert!(text.contains(part), "{part:?} is missing\n{text}");
    }
    for (width, height) in [(0, 0), (1, 1), (1, 30), (30, 1), (7, 3), (40, 10), (65, 12)] {
        with_view(|view| screen(&view, width, height));
    }
}

#[test]
fn trouble_is_told_and_the_last_figures_stay() {
    let (text, _) =
        with_view(|view| screen(&View { trouble: Some("no answer for 3 s"), ..view }, 80, 24));
    assert!(text.contains("no answer for 3 s") && text.contains("delivered"), "{text}");
}

#[test]
fn plain_text_has_every_row_and_no_keys() {
    let text = with_view(|view| View { takes_keys: false, ..view }.text(100, 20));
    assert!(text.contains("5f0c93aa-1-2") && !text.contains("quit"), "{text}");
    assert!(text.lines().all(|line| line.trim_end() == line), "{text:?}");
    assert!(text.ends_with('\n') && !text.ends_with("\n\n"), "{text:?}");
}

#[test]
fn the_busiest_of_many_shards_are_shown() {
    let mut figures = figures();
    let start = Instant::now();
    let mut many = scrape(start, 1.0, "");
    many.shards.shards = (0..64).map(|n| shard(n, 1.0)).collect();
    many.shards.shards[40].busy_ratio = 0.99;
    figures.shards = Figures::between(None, &many).shards;
    let topic = Topic {
        topic: "stocks.AAPL".to_owned(),
        namespace: "default".to_owned(),
        epoch: "k3f9q2xw".to_owned(),
        offset: 12,
        subscribers: 3,
        waiting_requests: 0,
        messages: 10,
        bytes: 2_560,
        newest_age_ms: Some(40),
        messages_per_second: None,
    };
    let rows = Rows::Topics(vec![topic]);
    let wanted = Wanted::WORST.other_table();
    let (address, trouble, takes_keys) = ("a", None, false);
    let view = View { address, figures: &figures, rows: &rows, wanted, trouble, takes_keys };
    let (text, _) = screen(&view, 80, 24);
    assert!(text.contains("40     99 %"), "{text}");
    assert!(text.contains("topics by rate") && text.contains("stocks.AAPL"), "{text}");
    let text = view.text(100, 5);
    assert!((0..64).all(|n| text.contains(&format!("\n{n:<5}  "))), "{text}");
}
