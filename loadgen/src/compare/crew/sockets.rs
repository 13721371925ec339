//! What happens on a client's socket: connecting, asking, reading, hanging up.
//!
//! Every byte goes through a talk, which counts it on the book that stands here.

use std::cmp::Reverse;
use std::io::{self, Read, Write};
use std::sync::atomic::Ordering;

use fanfare_kernel::{Segments, segments};
use mio::event::Event;
use mio::net::TcpStream;
use mio::{Interest, Token};

use super::Crew;
use crate::compare::talk::{Fault, Heard, Notes};
use crate::compare::tally::Book;
use crate::compare::way::Rhythm;
use crate::opening::connect;
use crate::stamp::now_ns;

impl Crew<'_> {
    /// Lets a client ask, on a new connection if it has none.
    pub(super) fn ask(&mut self, place: usize, due_ns: u64, book: Book) {
        if self.setup.way.is_fresh() {
            self.hang_up(place);
        }
        let client = &mut self.clients[place];
        (client.asked_ns, client.book) = (Some(due_ns), book);
        self.open += 1;
        if client.stream.is_some() {
            self.say(place);
            return;
        }
        self.tally.meter_of(book).connections += 1;
        (client.is_connected, client.counted) = (false, Segments::default());
        client.input.clear();
        client.output.clear();
        match self.open_socket(place) {
            Ok(stream) => self.clients[place].stream = Some(stream),
            Err(error) => self.failed(place, &error.into()),
        }
    }

    fn open_socket(&self, place: usize) -> io::Result<TcpStream> {
        let mut stream = connect(self.setup.address, self.share.source, None)?;
        let interests = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, Token(place), interests)?;
        Ok(stream)
    }

    fn say(&mut self, place: usize) {
        let client = &mut self.clients[place];
        let meter = self.tally.meter_of(client.book);
        client.talk.ask(self.setup, meter, &mut client.output);
        if let Err(fault) = self.flush(place) {
            self.failed(place, &fault);
        }
    }

    fn flush(&mut self, place: usize) -> Result<(), Fault> {
        let client = &mut self.clients[place];
        let Some(stream) = client.stream.as_mut() else { return Ok(()) };
        while !client.output.is_empty() {
            match stream.write(&client.output) {
                Ok(sent) => drop(client.output.drain(..sent)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    pub(super) fn advance(&mut self, event: &Event) {
        let place = event.token().0;
        if let Err(fault) = self.try_advance(place, event) {
            self.failed(place, &fault);
        }
    }

    fn try_advance(&mut self, place: usize, event: &Event) -> Result<(), Fault> {
        let client = &mut self.clients[place];
        let Some(stream) = client.stream.as_ref() else { return Ok(()) };
        if !client.is_connected {
            if let Some(error) = stream.take_error()? {
                return Err(error.into());
            }
            match stream.peer_addr() {
                Err(error) if error.kind() == io::ErrorKind::NotConnected => return Ok(()),
                address => drop(address?),
            }
            client.is_connected = true;
            self.say(place);
        }
        if event.is_writable() {
            self.flush(place)?;
        }
        if event.is_readable() { self.read(place) } else { Ok(()) }
    }

    /// Reads all there is.
    fn read(&mut self, place: usize) -> Result<(), Fault> {
        loop {
            let client = &mut self.clients[place];
            let Some(stream) = client.stream.as_mut() else { return Ok(()) };
            match stream.read(&mut self.scratch) {
                Ok(0) => return self.ended(place),
                Ok(read) => client.input.extend_from_slice(&self.scratch[..read]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            }
            self.hear(place)?;
        }
    }

    /// Takes all that has come whole.
    fn hear(&mut self, place: usize) -> Result<(), Fault> {
        let now_ns = now_ns();
        let mut input = std::mem::take(&mut self.clients[place].input);
        let mut used = 0;
        while used < input.len() {
            let book = self.book_of(place);
            let client = &mut self.clients[place];
            self.tally.book = book;
            let (setup, tally, next) = (self.setup, &mut self.tally, &mut client.next);
            let mut notes = Notes { setup, tally, next, now_ns };
            match client.talk.hear(&input[used..], &mut notes, &mut client.output)? {
                Heard::Nothing => break,
                Heard::Part(length) => used += length,
                Heard::Live(length) => {
                    used += length;
                    (client.asked_ns, self.open) = (None, self.open - 1);
                    self.is_live(place);
                }
                Heard::Answer(length) => {
                    used += length;
                    self.answered(place, now_ns);
                }
            }
        }
        input.drain(..used);
        self.clients[place].input = input;
        self.flush(place)
    }

    /// What bytes that come now are booked on: a poll's with the poll, others by the moment.
    fn book_of(&self, place: usize) -> Book {
        let client = &self.clients[place];
        let by_question = self.setup.way.rhythm() == Rhythm::Interval || !client.is_live;
        if by_question { client.book } else { self.book() }
    }

    fn is_live(&mut self, place: usize) {
        let client = &mut self.clients[place];
        if client.is_live {
            return;
        }
        client.is_live = true;
        self.live += 1;
        if let Some(now) = client.stream.as_ref().and_then(|stream| segments(stream).ok()) {
            self.tally.opening.add_segments(client.counted, now);
            client.counted = now;
        }
        self.controls.live.store(self.live as u32, Ordering::Release);
    }

    fn answered(&mut self, place: usize, now_ns: u64) {
        let client = &mut self.clients[place];
        let Some(asked_ns) = client.asked_ns.take() else { return };
        self.open -= 1;
        if client.book == Book::Running {
            self.tally.answer.record(now_ns - asked_ns + 2 * self.setup.one_way_ns);
        }
        match self.setup.way.rhythm() {
            Rhythm::Interval if client.is_live => self.ask_later(place),
            Rhythm::Held if client.is_live => {
                // What was read now would have come one way later, and the next question would
                // reach the server another one later.
                self.due.push(Reverse((now_ns + 2 * self.setup.one_way_ns, place)));
            }
            _ if self.setup.way.is_fresh() => {}
            _ => self.is_live(place),
        }
    }

    /// Plans the next poll of the time-table, which does not wait for answers.
    fn ask_later(&mut self, place: usize) {
        let client = &mut self.clients[place];
        client.due_ns += self.setup.interval_ns;
        self.due.push(Reverse((client.due_ns, place)));
    }

    /// The server sends no more.
    fn ended(&mut self, place: usize) -> Result<(), Fault> {
        if self.clients[place].asked_ns.is_some() || self.setup.way.rhythm() == Rhythm::Once {
            return Err(Fault::Closed("without a word".to_owned()));
        }
        self.hang_up(place);
        if self.setup.way.is_fresh() && !self.clients[place].is_live {
            self.is_live(place);
        }
        Ok(())
    }

    /// Ends a connection from this side and counts its packets.
    fn hang_up(&mut self, place: usize) {
        let client = &mut self.clients[place];
        let Some(stream) = client.stream.take() else { return };
        // On loopback the server's acknowledgement is there when this returns.
        let _ = stream.shutdown(std::net::Shutdown::Write);
        if let Ok(now) = segments(&stream) {
            self.tally.meter_of(client.book).add_segments(client.counted, now);
        }
    }

    /// Gives a connection up. A poller asks again when it is due; others are gone.
    fn failed(&mut self, place: usize, fault: &Fault) {
        self.tally.fault(fault);
        self.hang_up(place);
        let client = &mut self.clients[place];
        if client.asked_ns.take().is_some() {
            self.open -= 1;
        }
        if self.setup.way.rhythm() == Rhythm::Interval && client.is_live {
            self.ask_later(place);
        }
    }
}
