//! What every error of Modelyard can tell besides its message: whose fault it is, and what to do.

/// Whose fault an error is; `yard` turns it into the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The user's data, project file, arguments or surroundings: exit code 2.
    User,
    /// Ours: exit code 1.
    Internal,
    /// Everything worked, and a gate of the project file said no: exit code 3.
    Gate,
    /// The user pressed Ctrl-C: exit code 130.
    Stopped,
}

/// An error that says whose fault it is and what to do next.
///
/// The message (`Display`) reads `failed to <verb> <object>`, in lower case and without a full stop;
/// the hint is a full sentence for the user.
pub trait Failure: std::error::Error + Send + Sync + 'static {
    /// Whose fault it is.
    fn fault(&self) -> Fault;

    /// What the user can do about it.
    fn hint(&self) -> Option<String> {
        None
    }
}

/// Whose fault an input or output error is: a file that is missing, unreadable or has no room is the
/// user's to mend, anything else is ours.
#[must_use]
pub fn io_fault(error: &std::io::Error) -> Fault {
    use std::io::ErrorKind as K;
    match error.kind() {
        K::NotFound
        | K::PermissionDenied
        | K::StorageFull
        | K::QuotaExceeded
        | K::ReadOnlyFilesystem
        | K::AddrInUse
        | K::AddrNotAvailable
        | K::IsADirectory
        | K::NotADirectory
        | K::FileTooLarge => Fault::User,
        _ => Fault::Internal,
    }
}

/// The advice for an input or output error of a known kind.
#[must_use]
pub fn io_hint(error: &std::io::Error) -> Option<String> {
    use std::io::ErrorKind as K;
    let text = match error.kind() {
        K::NotFound => "Check the path; relative paths start at the project's folder.",
        K::PermissionDenied => "Check who owns the file and its permissions.",
        K::StorageFull | K::QuotaExceeded => {
            "The disk is full. Make room and run the same command again: it continues where it stopped."
        }
        K::ReadOnlyFilesystem => "The disk is mounted read-only; use another folder.",
        K::AddrInUse => "Another program listens on that port. Stop it, or give another with --address.",
        K::IsADirectory => "A file is wanted here, and this is a folder.",
        _ => return None,
    };
    Some(text.to_owned())
}
