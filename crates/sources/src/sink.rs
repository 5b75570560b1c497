//! Where readers put what they find: it adds the place, counts, and hears when the taker says stop.

use std::cell::Cell;
use std::io;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;

use crate::config::Config;
use crate::input::damage_of;
use crate::record::{Body, Counts, Damage, Item, NoteKind, Place, Position, Reason, Record, Take};

/// Why a reader ended before the end of its input.
#[derive(Debug)]
pub(crate) enum Halt {
    /// The taker said stop.
    Stopped,
    /// The rest cannot be read.
    Damaged(Damage, Position),
}

impl From<Damage> for Halt {
    fn from(damage: Damage) -> Self {
        Self::Damaged(damage, Position::Whole)
    }
}

impl From<io::Error> for Halt {
    fn from(error: io::Error) -> Self {
        damage_of(&error).into()
    }
}

impl Halt {
    /// The same, at a line or record.
    pub(crate) fn at(self, position: Position) -> Self {
        match self {
            Self::Damaged(damage, Position::Whole) => Self::Damaged(damage, position),
            other => other,
        }
    }
}

pub(crate) fn halt(reason: Reason, message: impl Into<String>) -> Halt {
    Damage::new(reason, message).into()
}

/// How a reader goes on.
pub(crate) type Flow = Result<(), Halt>;

/// Where readers put what they find.
pub(crate) struct Sink<'a, 'b> {
    pub config: &'a Config,
    take: &'a mut Take<'b>,
    source: Arc<str>,
    member: Option<Arc<str>>,
    /// What was counted so far.
    pub counts: Counts,
    /// The bytes that came out of all decompressors.
    pub expanded: Rc<Cell<u64>>,
    /// The packings around the bytes that are read now.
    pub depth: usize,
}

impl<'a, 'b> Sink<'a, 'b> {
    pub(crate) fn new(config: &'a Config, source: Arc<str>, take: &'a mut Take<'b>) -> Self {
        Self {
            config,
            take,
            source,
            member: None,
            counts: Counts::default(),
            expanded: Rc::new(Cell::new(0)),
            depth: 0,
        }
    }

    fn place(&self, position: Position) -> Place {
        Place { source: Arc::clone(&self.source), member: self.member.clone(), position }
    }

    fn give(&mut self, item: Item) -> Flow {
        match (self.take)(item) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Halt::Stopped),
        }
    }

    pub(crate) fn record(&mut self, position: Position, body: Body, replaced: u32) -> Flow {
        self.counts.records += 1;
        let place = self.place(position);
        self.give(Item::Record(Record { place, body, replaced }))
    }

    pub(crate) fn damaged(&mut self, position: Position, damage: Damage) -> Flow {
        self.counts.damaged += 1;
        let place = self.place(position);
        self.give(Item::Damaged { place, damage })
    }

    pub(crate) fn note(&mut self, kind: NoteKind, count: u64, message: impl Into<String>) -> Flow {
        if kind == NoteKind::Skipped {
            self.counts.skipped += count;
        }
        let place = self.place(Position::Whole);
        self.give(Item::Note { place, kind, count, message: message.into() })
    }

    /// Runs a reader of one member of an archive; its damage is an entry and not the end of the archive.
    pub(crate) fn member(&mut self, name: &str, read: impl FnOnce(&mut Self) -> Flow) -> Flow {
        let outer = self.member.clone();
        let path = match &outer {
            Some(outer) => format!("{outer}!{name}"),
            None => name.to_owned(),
        };
        self.member = Some(path.into());
        let result = read(self);
        let result = self.settle(result);
        self.member = outer;
        result
    }

    /// Makes an entry of the damage that ended a reader.
    pub(crate) fn settle(&mut self, result: Flow) -> Flow {
        match result {
            Err(Halt::Damaged(damage, position)) => self.damaged(position, damage),
            other => other,
        }
    }
}
