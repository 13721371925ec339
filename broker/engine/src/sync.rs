//! The primitives at which threads of a node meet: locks, the mailboxes' queue, atomics.
//!
//! They are parking_lot's, crossbeam's and the standard library's. In tests with the feature
//! `shuttle`, and only there, they are the model checker's, which decides at each of them which
//! thread goes on: see `models/`.

#[cfg(not(all(test, feature = "shuttle")))]
pub(crate) use {
    crossbeam_queue::SegQueue,
    parking_lot::{Mutex, MutexGuard, RwLock},
    std::sync::atomic,
};

#[cfg(all(test, feature = "shuttle"))]
pub(crate) use {
    checked::{Mutex, RwLock, SegQueue},
    shuttle::sync::{MutexGuard, atomic},
};

/// Holds whoever writes to the one thread that may; the rule costs nothing where it is not checked.
#[cfg(not(all(test, feature = "shuttle")))]
#[derive(Debug, Default)]
pub(crate) struct SingleWriter;

#[cfg(not(all(test, feature = "shuttle")))]
impl SingleWriter {
    #[expect(clippy::unused_self, reason = "the checked one needs it")]
    pub(crate) const fn check(&self) {}
}

#[cfg(all(test, feature = "shuttle"))]
pub(crate) use checked::SingleWriter;

/// The model checker's primitives in the shape of those that they stand for.
#[cfg(all(test, feature = "shuttle"))]
mod checked {
    use std::collections::VecDeque;
    use std::sync::{OnceLock, PoisonError, TryLockError};

    use shuttle::sync::{self, MutexGuard, RwLockReadGuard, RwLockWriteGuard};
    use shuttle::thread::ThreadId;

    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }

        pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            match self.0.try_lock() {
                Ok(guard) => Some(guard),
                Err(TryLockError::Poisoned(error)) => Some(error.into_inner()),
                Err(TryLockError::WouldBlock) => None,
            }
        }
    }

    #[derive(Debug, Default)]
    pub(crate) struct RwLock<T>(sync::RwLock<T>);

    impl<T> RwLock<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(sync::RwLock::new(value))
        }

        pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
            self.0.read().unwrap_or_else(PoisonError::into_inner)
        }

        pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
            self.0.write().unwrap_or_else(PoisonError::into_inner)
        }
    }

    /// A queue whose every operation is one step, as those of the lock-free one appear to be.
    #[derive(Debug)]
    pub(crate) struct SegQueue<T>(Mutex<VecDeque<T>>);

    impl<T> SegQueue<T> {
        pub(crate) fn new() -> Self {
            Self(Mutex::new(VecDeque::new()))
        }

        pub(crate) fn push(&self, value: T) {
            self.0.lock().push_back(value);
        }

        pub(crate) fn pop(&self) -> Option<T> {
            self.0.lock().pop_front()
        }

        pub(crate) fn len(&self) -> usize {
            self.0.lock().len()
        }

        pub(crate) fn is_empty(&self) -> bool {
            self.0.lock().is_empty()
        }
    }

    #[derive(Debug, Default)]
    pub(crate) struct SingleWriter(OnceLock<ThreadId>);

    impl SingleWriter {
        pub(crate) fn check(&self) {
            let this = shuttle::thread::current().id();
            assert_eq!(*self.0.get_or_init(|| this), this, "a counter has one writer");
        }
    }
}
