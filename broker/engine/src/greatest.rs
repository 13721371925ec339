//! The greatest few of many, in memory that does not grow with the many.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// Keeps the items of highest rank of all that are offered.
#[derive(Debug)]
pub(crate) struct Greatest<R, T> {
    limit: usize,
    /// The lowest of those kept is on top.
    heap: BinaryHeap<Reverse<Ranked<R, T>>>,
}

/// An item that is compared by its rank alone.
#[derive(Debug)]
struct Ranked<R, T> {
    rank: R,
    item: T,
}

impl<R: Ord, T> Greatest<R, T> {
    /// Keeps up to `limit` items.
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, heap: BinaryHeap::new() }
    }

    /// Keeps `item` if its rank is among the highest so far.
    pub(crate) fn offer(&mut self, rank: R, item: T) {
        if self.heap.len() < self.limit {
            self.heap.push(Reverse(Ranked { rank, item }));
        } else if let Some(mut lowest) = self.heap.peek_mut()
            && lowest.0.rank < rank
        {
            *lowest = Reverse(Ranked { rank, item });
        }
    }

    /// Those that were kept, highest rank first.
    pub(crate) fn into_items(self) -> impl Iterator<Item = T> {
        self.heap.into_sorted_vec().into_iter().map(|Reverse(ranked)| ranked.item)
    }
}

impl<R: Ord, T> Ord for Ranked<R, T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank.cmp(&other.rank)
    }
}

impl<R: Ord, T> PartialOrd for Ranked<R, T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<R: Ord, T> PartialEq for Ranked<R, T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<R: Ord, T> Eq for Ranked<R, T> {}

#[cfg(test)]
mod tests {
    use super::*;

    fn greatest(limit: usize, ranks: &[u32]) -> Vec<u32> {
        let mut greatest = Greatest::new(limit);
        ranks.iter().for_each(|rank| greatest.offer(*rank, *rank));
        greatest.into_items().collect()
    }

    #[test]
    fn the_highest_are_kept_in_falling_order() {
        assert_eq!(greatest(3, &[5, 1, 9, 7, 3, 8]), [9, 8, 7]);
        assert_eq!(greatest(9, &[2, 4, 4]), [4, 4, 2]);
        assert!(greatest(0, &[1, 2]).is_empty());
    }

    #[test]
    fn of_equal_ranks_the_first_stays() {
        let mut greatest = Greatest::new(1);
        [("a", 1), ("b", 1)].into_iter().for_each(|(name, rank)| greatest.offer(rank, name));
        assert_eq!(greatest.into_items().collect::<Vec<_>>(), ["a"]);
    }
}
