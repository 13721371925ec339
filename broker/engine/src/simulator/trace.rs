//! The last steps of a simulation, kept where a panic does not reach them.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

const KEPT: usize = 60;

/// What happened last, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Trace(Rc<RefCell<VecDeque<String>>>);

impl Trace {
    pub(super) fn tell(&self, step: impl FnOnce() -> String) {
        let mut steps = self.0.borrow_mut();
        if steps.len() == KEPT {
            steps.pop_front();
        }
        steps.push_back(step());
    }

    pub(super) fn steps(&self) -> Vec<String> {
        self.0.borrow().iter().cloned().collect()
    }
}
