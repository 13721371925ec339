//! `fanfare top`: a node on the terminal, again and again.
//!
//! `scrape` and `asking` ask the admin port, `model` computes, `draw` draws, `screen` holds the
//! terminal; here is what ties them together.

mod asking;
mod draw;
mod model;
mod scrape;
mod screen;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use crossterm::event::{Event, EventStream, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use futures_util::StreamExt;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};

use super::INTERRUPTED;
use super::admin::Admin;
use asking::Update;
use draw::View;
use model::Figures;
use scrape::{Rows, Scrape, Wanted};
use screen::Screen;

/// Watch a broker on the terminal: rates, latency, shards and the worst readers.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Top {
    /// How often to look, from 200ms to 1h.
    #[arg(long, short, value_name = "TIME", default_value = "1s", value_parser = interval)]
    interval: Duration,

    /// Print one view as text and end; so it is too where the output is no terminal.
    #[arg(long)]
    once: bool,

    #[command(flatten)]
    admin: Admin,
}

const EXAMPLES: &str = "\
Examples:
  fanfare top
      s  the next order of the table below
      t  topics in it, or connections
      q  quit, as does Ctrl-C

  fanfare top --once --interval 10s | grep latency
      times from publish to socket within ten seconds, and what else happened in them";

fn interval(text: &str) -> Result<Duration, &'static str> {
    let allowed = Duration::from_millis(200)..=Duration::from_secs(3_600);
    let interval = humantime::parse_duration(text).ok().filter(|time| allowed.contains(time));
    interval.ok_or("use a time from 200ms to 1h")
}

/// Columns of text that is not for a terminal.
const TEXT_WIDTH: u16 = 160;

/// Rows of the table below, as text.
const TEXT_ROWS: usize = 20;

impl Top {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        // Asked before the terminal is taken over, so that a wrong address is one line.
        let (scrape, rows) = asking::all(&self.admin, Wanted::WORST).await?;
        if self.once || !std::io::stdout().is_terminal() {
            return self.print(scrape).await;
        }
        let state = State::new(scrape, rows);
        self.watch(state).await
    }

    /// One view of the time between two looks.
    async fn print(&self, before: Scrape) -> anyhow::Result<ExitCode> {
        tokio::time::sleep(self.interval).await;
        let (scrape, mut rows) = asking::all(&self.admin, Wanted::WORST).await?;
        rows.truncate(TEXT_ROWS);
        let mut state = State::new(before, rows);
        state.take_scrape(scrape);
        let text = state.view(&self.admin, false).text(TEXT_WIDTH, TEXT_ROWS as u16);
        std::io::stdout().write_all(text.as_bytes())?;
        Ok(ExitCode::SUCCESS)
    }

    /// The terminal, until somebody has enough.
    async fn watch(&self, mut state: State) -> anyhow::Result<ExitCode> {
        let (wish, wanted) = watch::channel(Wanted::WORST);
        let (send, mut updates) = mpsc::channel(1);
        let mut signals = Signals::new()?;
        let mut screen = Screen::open()?;
        let mut keys = EventStream::new();
        let asking = asking::ask_for_ever(self.admin.clone(), self.interval, wanted, send);
        tokio::pin!(asking);
        loop {
            screen.show(&state.view(&self.admin, true))?;
            tokio::select! {
                () = &mut asking => return Ok(ExitCode::SUCCESS),
                Some(update) = updates.recv() => state.take(update),
                () = signals.next() => return Ok(ExitCode::from(INTERRUPTED)),
                event = keys.next() => match event {
                    Some(Ok(Event::Key(key))) if key.kind != KeyEventKind::Release => {
                        match action(key) {
                            Some(Action::Quit) => return Ok(ExitCode::SUCCESS),
                            Some(Action::NextOrder) => wish.send_modify(|w| *w = w.next_order()),
                            Some(Action::OtherTable) => wish.send_modify(|w| *w = w.other_table()),
                            None => {}
                        }
                    }
                    // Others, such as another size, draw it anew.
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(error.into()),
                    None => return Ok(ExitCode::SUCCESS),
                },
            }
        }
    }
}

/// What a key does.
enum Action {
    Quit,
    NextOrder,
    OtherTable,
}

fn action(key: KeyEvent) -> Option<Action> {
    match key.code {
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Some(Action::Quit),
        KeyCode::Char('q') | KeyCode::Esc => Some(Action::Quit),
        KeyCode::Char('s') => Some(Action::NextOrder),
        KeyCode::Char('t') => Some(Action::OtherTable),
        _ => None,
    }
}

/// What is shown, and what it was computed from.
struct State {
    scrape: Scrape,
    figures: Figures,
    rows: Rows,
    wanted: Wanted,
    trouble: Option<String>,
}

impl State {
    fn new(scrape: Scrape, rows: Rows) -> Self {
        let figures = Figures::between(None, &scrape);
        Self { scrape, figures, rows, wanted: Wanted::WORST, trouble: None }
    }

    fn take(&mut self, update: Update) {
        match update {
            Update::All(scrape, rows, wanted) => {
                self.take_scrape(scrape);
                (self.rows, self.wanted, self.trouble) = (rows, wanted, None);
            }
            Update::Rows(rows, wanted) => (self.rows, self.wanted) = (rows, wanted),
            Update::Trouble(trouble) => self.trouble = Some(trouble),
        }
    }

    fn take_scrape(&mut self, scrape: Scrape) {
        self.figures = Figures::between(Some(&self.scrape), &scrape);
        self.scrape = scrape;
    }

    fn view<'a>(&'a self, admin: &'a Admin, takes_keys: bool) -> View<'a> {
        View {
            address: admin.address(),
            figures: &self.figures,
            rows: &self.rows,
            wanted: self.wanted,
            trouble: self.trouble.as_deref(),
            takes_keys,
        }
    }
}

/// What ends a program from outside; the terminal must be given back then too.
struct Signals([Signal; 3]);

impl Signals {
    fn new() -> std::io::Result<Self> {
        let [interrupt, terminate, hangup] =
            [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
        Ok(Self([interrupt?, terminate?, hangup?]))
    }

    async fn next(&mut self) {
        let Self([interrupt, terminate, hangup]) = self;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
