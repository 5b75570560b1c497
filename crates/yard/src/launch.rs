//! How this process was started: alone, or by `mpirun` as one of several that train together.

use std::process::ExitCode;

use base::Failure;
use train::Ranks;

use crate::arguments::Command;
use crate::output::{Error, Output, boxed};
use crate::pipeline::Usage;

/// What `mpirun` (OpenMPI) says in the environment.
#[derive(Debug, Clone, Copy)]
pub struct Launch {
    /// This process's number, from 0.
    pub rank: usize,
    /// Processes in all.
    pub size: usize,
    /// Processes on this machine.
    pub here: usize,
}

impl Launch {
    /// Reads the environment.
    pub fn read() -> Self {
        let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<usize>().ok());
        let size = number("OMPI_COMM_WORLD_SIZE").unwrap_or(1);
        let here = number("OMPI_COMM_WORLD_LOCAL_SIZE").unwrap_or(size);
        Self { rank: number("OMPI_COMM_WORLD_RANK").unwrap_or(0), size, here }
    }

    /// Whether this process talks to people.
    pub fn leads(self) -> bool {
        self.rank == 0
    }

    /// The threads of this process: those asked for, or its share of the machine.
    pub fn threads(self, asked: Option<u16>) -> usize {
        let share = || (base::progress::default_threads() / self.here.max(1)).max(1);
        asked.map_or_else(share, usize::from)
    }

    /// Joins the other processes, if there are any.
    pub fn join(self, command: &Command) -> Result<Ranks, Error> {
        if self.size > 1 && !matches!(command, Command::Train { find_rate: false, .. }) {
            return Err(boxed(Usage::new(
                format!("failed to start: mpirun started {} processes, and only `yard train` uses several", self.size),
                "Train with mpirun first, then run this command without it: what was trained is found again.",
            )));
        }
        Ranks::join(self.size).map_err(boxed)
    }

    /// Says why nothing can begin, once for all processes.
    pub fn refuse(self, output: Output, error: &dyn Failure) -> ExitCode {
        if self.leads() { output.error(error) } else { ExitCode::from(crate::output::exit_code(error.fault())) }
    }
}
