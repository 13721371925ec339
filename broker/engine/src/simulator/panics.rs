//! A panic in a simulated world is a finding: it is caught, and told with where it was.

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    /// What this thread has panicked with, while it looks for that; then nothing is printed.
    static FOUND: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs `body`; an error is what it panicked with.
pub(super) fn catch<T>(body: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            let is_expected = FOUND.with_borrow_mut(|found| match found {
                Some(found) => {
                    *found = panic.to_string();
                    true
                }
                None => false,
            });
            if !is_expected {
                usual(panic);
            }
        }));
    });
    FOUND.set(Some(String::new()));
    let result = panic::catch_unwind(AssertUnwindSafe(body));
    let found = FOUND.take().unwrap_or_default();
    result.map_err(|_| found)
}
