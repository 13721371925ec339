//! All connections of a shard, by key.
//!
//! They live in chunks that never move: growing neither copies what is there, which would be a
//! pause of milliseconds on a large node, nor leaves the old half behind as unused memory.

use std::ops::{Index, IndexMut};

use slab::Slab;

use super::Key;
use super::connection::Connection;

/// Connections of one chunk: about a hundred kibibytes of them.
const CHUNK: usize = 1_024;

#[derive(Debug)]
pub(super) struct Connections<S> {
    chunks: Vec<Slab<Connection<S>>>,
    /// Chunks with room, each once; the last one is filled first.
    with_room: Vec<u32>,
    len: usize,
}

impl<S> Default for Connections<S> {
    fn default() -> Self {
        Self { chunks: Vec::new(), with_room: Vec::new(), len: 0 }
    }
}

impl<S> Connections<S> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Takes a connection in; its key, which another one may have had before.
    pub(super) fn insert(&mut self, connection: Connection<S>) -> Key {
        let chunk = *self.with_room.last().unwrap_or(&(self.chunks.len() as u32));
        if chunk as usize == self.chunks.len() {
            self.chunks.push(Slab::new());
            self.with_room.push(chunk);
        }
        let slab = &mut self.chunks[chunk as usize];
        if slab.capacity() == 0 {
            slab.reserve_exact(CHUNK);
        }
        let place = slab.insert(connection);
        if slab.len() == CHUNK {
            self.with_room.pop();
        }
        self.len += 1;
        Key(chunk * CHUNK as u32 + place as u32)
    }

    /// Takes a connection out. A chunk without any gives its memory back.
    pub(super) fn remove(&mut self, key: Key) -> Option<Connection<S>> {
        let (chunk, place) = split(key);
        let slab = self.chunks.get_mut(chunk)?;
        let was_full = slab.len() == CHUNK;
        let removed = slab.try_remove(place)?;
        if slab.is_empty() {
            *slab = Slab::new();
        }
        if was_full {
            self.with_room.push(chunk as u32);
        }
        self.len -= 1;
        Some(removed)
    }

    pub(super) fn get(&self, key: Key) -> Option<&Connection<S>> {
        let (chunk, place) = split(key);
        self.chunks.get(chunk)?.get(place)
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut Connection<S>> {
        let (chunk, place) = split(key);
        self.chunks.get_mut(chunk)?.get_mut(place)
    }

    pub(super) fn contains(&self, key: Key) -> bool {
        self.get(key).is_some()
    }

    /// Chunks of which a part may be empty.
    pub(super) fn chunk_count(&self) -> usize {
        self.chunks.len()
    }

    /// The connections of one chunk; `None` behind the last one.
    pub(super) fn chunk(&self, index: usize) -> Option<impl Iterator<Item = &Connection<S>>> {
        Some(self.chunks.get(index)?.iter().map(|(_, connection)| connection))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, &Connection<S>)> {
        self.chunks.iter().enumerate().flat_map(|(chunk, slab)| {
            let key = move |place| Key((chunk * CHUNK + place) as u32);
            slab.iter().map(move |(place, connection)| (key(place), connection))
        })
    }
}

fn split(key: Key) -> (usize, usize) {
    (key.0 as usize / CHUNK, key.0 as usize % CHUNK)
}

impl<S> Index<Key> for Connections<S> {
    type Output = Connection<S>;

    fn index(&self, key: Key) -> &Connection<S> {
        let (chunk, place) = split(key);
        &self.chunks[chunk][place]
    }
}

impl<S> IndexMut<Key> for Connections<S> {
    fn index_mut(&mut self, key: Key) -> &mut Connection<S> {
        let (chunk, place) = split(key);
        &mut self.chunks[chunk][place]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::connection::Phase;
    use super::*;
    use crate::topics::WireForm;

    fn connection(socket: u32) -> Connection<u32> {
        Connection::new(socket, WireForm::Raw, Phase::Open, 0, 0)
    }

    #[test]
    fn keys_are_unique_and_used_again_before_more_room_is_taken() {
        let mut connections = Connections::default();
        let most = CHUNK as u32 * 2 + 10;
        let keys: Vec<Key> = (0..most).map(|n| connections.insert(connection(n))).collect();
        assert_eq!(keys.iter().map(|key| key.0).collect::<BTreeSet<_>>().len(), keys.len());
        assert!(keys.iter().zip(0..).all(|(key, n)| connections[*key].socket == n));
        let gone: Vec<Key> = keys.iter().copied().step_by(3).collect();
        for key in &gone {
            assert!(connections.remove(*key).is_some() && connections.remove(*key).is_none());
            assert!(!connections.contains(*key) && connections.get_mut(*key).is_none());
        }
        assert_eq!(connections.iter().count(), connections.len());
        for n in 0..gone.len() as u32 {
            let key = connections.insert(connection(n));
            assert!(key.0 < CHUNK as u32 * 3);
        }
        assert_eq!((connections.len(), connections.chunks.len()), (keys.len(), 3));
    }

    #[test]
    fn connections_never_move_and_an_empty_chunk_takes_no_memory() {
        let mut connections = Connections::default();
        let first = connections.insert(connection(0));
        let address = std::ptr::from_ref(&connections[first]);
        let rest: Vec<Key> = (1..5_000).map(|n| connections.insert(connection(n))).collect();
        assert_eq!(std::ptr::from_ref(&connections[first]), address);
        rest.into_iter().for_each(|key| drop(connections.remove(key)));
        connections.remove(first);
        assert!(connections.chunks.iter().all(|slab| slab.capacity() == 0));
        assert_eq!(connections.insert(connection(7)).0 as usize % CHUNK, 0);
        assert_eq!(connections.len(), 1);
    }
}
