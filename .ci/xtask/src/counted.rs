//! Checks of a stage that makes its own, each of which counts as one test.

use anyhow::bail;

use crate::stage::Context;

/// What was checked so far.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    passed: u64,
    failed: u64,
}

impl Checks {
    /// Counts one check; tells why it failed.
    pub(crate) fn one(&mut self, what: &str, result: anyhow::Result<()>) {
        match result {
            Ok(()) => self.passed += 1,
            Err(error) => {
                self.failed += 1;
                println!("FAILED {what}: {error:#}");
            }
        }
    }

    /// Adds them to all that was counted; an error if any failed.
    pub(crate) fn finish(self, stage: &str, context: &mut Context) -> anyhow::Result<()> {
        println!("{stage}: {} checks passed, {} failed", self.passed, self.failed);
        context.counts.passed += self.passed;
        context.counts.failed += self.failed;
        if self.failed > 0 {
            bail!("{} checks failed", self.failed);
        }
        Ok(())
    }
}
