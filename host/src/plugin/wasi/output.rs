//! What a plugin prints: lines that wait for the end of the call.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

use crate::plugin::abi::weir::plugin::log::Level;

/// Most bytes of lines that one call may print; the rest is counted, line by line.
const MAX_PRINTED: usize = 64 << 10;
/// A longer line is cut into several.
const MAX_LINE: usize = 4 << 10;
/// What a stream takes at once.
const PERMIT: usize = 16 << 10;

/// Lines of one call.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Lines {
    pub(super) lines: Vec<(Level, String)>,
    /// Lines that did not fit.
    pub(super) dropped: u64,
    bytes: usize,
}

#[derive(Debug, Default)]
struct State {
    lines: Lines,
    /// The lines that have no end yet, of stdout and of stderr. They may go on in a later call.
    open: [Vec<u8>; 2],
}

/// What was printed and not taken yet. Shared by all streams of an instance.
#[derive(Debug, Default, Clone)]
pub(super) struct Printed(Arc<Mutex<State>>);

impl Printed {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn take(&self) -> Lines {
        std::mem::take(&mut self.state().lines)
    }
}

impl State {
    fn print(&mut self, level: Level, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let open = &mut self.open[usize::from(level != Level::Info)];
            let room = MAX_LINE - open.len();
            let end = bytes.iter().take(room).position(|byte| *byte == b'\n');
            let piece = end.unwrap_or(bytes.len().min(room));
            open.extend_from_slice(&bytes[..piece]);
            bytes = &bytes[piece + usize::from(end.is_some())..];
            if end.is_some() || open.len() == MAX_LINE {
                let line = std::mem::take(open);
                self.line(level, &line);
            }
        }
    }

    fn line(&mut self, level: Level, line: &[u8]) {
        // An empty line costs something, too.
        let bytes = self.lines.bytes + line.len() + 16;
        if bytes > MAX_PRINTED {
            self.lines.dropped += 1;
            return;
        }
        self.lines.bytes = bytes;
        self.lines.lines.push((level, String::from_utf8_lossy(line).into_owned()));
    }
}

/// Stdout or stderr of an instance.
pub(super) struct Output {
    printed: Printed,
    level: Level,
}

impl Output {
    pub(super) fn new(printed: &Printed, level: Level) -> Self {
        Self { printed: printed.clone(), level }
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    /// Of WASI 0.3 only, which is not linked.
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(Self { printed: self.printed.clone(), level: self.level })
    }
}

impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if bytes.len() > PERMIT {
            return Err(StreamError::trap("more was written than the stream said that it takes"));
        }
        self.printed.state().print(self.level, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(PERMIT)
    }
}

impl Pollable for Output {
    /// Always.
    fn ready<'a, 'b>(&'a mut self) -> Pin<Box<dyn Future<Output = ()> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(std::future::ready(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(pieces: &[(Level, &[u8])]) -> Lines {
        let printed = Printed::default();
        for (level, bytes) in pieces {
            Output::new(&printed, *level).write(Bytes::copy_from_slice(bytes)).expect("taken");
        }
        printed.take()
    }

    #[test]
    fn lines_are_put_together_for_each_stream() {
        let lines =
            printed(&[(Level::Info, b"a"), (Level::Warn, b"x\ny"), (Level::Info, b"b\n\nc"), (Level::Warn, b"z\n")]);
        let expected = [(Level::Warn, "x"), (Level::Info, "ab"), (Level::Info, ""), (Level::Warn, "yz")];
        assert_eq!(lines.lines, expected.map(|(level, text)| (level, text.to_owned())));
    }

    #[test]
    fn what_is_too_long_is_cut_and_what_is_too_much_is_counted() {
        let long = printed(&[(Level::Info, &[b'a'; 2 * MAX_LINE + 1])]);
        assert_eq!(long.lines.iter().map(|(_, line)| line.len()).collect::<Vec<_>>(), [MAX_LINE; 2]);
        let many = [b'\n'; PERMIT];
        let many = printed(&[(Level::Info, &many)]);
        assert_eq!((many.lines.len(), many.dropped), (MAX_PRINTED / 16, (PERMIT - MAX_PRINTED / 16) as u64));
    }
}
