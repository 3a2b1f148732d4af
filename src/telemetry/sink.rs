//! Writes log lines from a thread of its own, so that a reader of stderr who has stopped reading holds up no traffic.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// Lines that may wait to be written; further ones are lost, and counted. At a few hundred bytes each some megabytes.
const LINES_MAX: usize = 8_192;

/// How long the end of the program waits for the lines that are still to be written.
const FLUSH_MAX: Duration = Duration::from_secs(2);

enum Message {
    Line(Vec<u8>),
    /// Answered when everything before it is written.
    Flush(SyncSender<()>),
}

/// Takes formatted lines and never blocks.
#[derive(Clone, Debug)]
pub(super) struct Sink {
    lines: SyncSender<Message>,
    lost: Arc<AtomicU64>,
}

/// Writes out, when dropped, what was logged until then; waits at most two seconds for it.
#[derive(Debug)]
#[must_use = "dropped at the end of the program, so that its last lines are written"]
pub struct Flush(SyncSender<Message>);

impl Drop for Flush {
    fn drop(&mut self) {
        let (done, written) = sync_channel(1);
        // Where the queue is full, its reader is stuck, and waiting would not help.
        if self.0.try_send(Message::Flush(done)).is_ok() {
            let _ = written.recv_timeout(FLUSH_MAX);
        }
    }
}

/// Starts the thread. `lost_line` renders, as a line of its own, that so many lines could not be written.
pub(super) fn start(
    out: impl Write + Send + 'static,
    lost_line: fn(u64) -> String,
) -> io::Result<(Sink, Flush)> {
    start_with(out, lost_line, LINES_MAX)
}

fn start_with(
    out: impl Write + Send + 'static,
    lost_line: fn(u64) -> String,
    lines_max: usize,
) -> io::Result<(Sink, Flush)> {
    let (lines, queue) = sync_channel(lines_max);
    let lost = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&lost);
    thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || drain(&queue, out, &counted, lost_line))?;
    let flush = Flush(lines.clone());
    Ok((Sink { lines, lost }, flush))
}

fn drain(queue: &Receiver<Message>, mut out: impl Write, lost: &AtomicU64, lost_line: fn(u64) -> String) {
    while let Ok(message) = queue.recv() {
        // A log that cannot be written has nowhere to say so.
        let _ = match message {
            Message::Line(line) => out.write_all(&line),
            Message::Flush(done) => {
                let flushed = out.flush();
                let _ = done.send(());
                flushed
            }
        };
        match lost.swap(0, Ordering::Relaxed) {
            0 => {}
            count => drop(out.write_all(lost_line(count).as_bytes())),
        }
    }
}

impl Write for Sink {
    /// Takes a whole line: the formatter writes each in one piece.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.lines.try_send(Message::Line(line.to_vec())).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Sink {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::channel;

    use super::*;

    fn lost(count: u64) -> String {
        format!("{count} lost\n")
    }

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(line)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_was_logged_is_written_at_the_end() {
        let out = Shared::default();
        let (mut sink, flush) = start(out.clone(), lost).unwrap();
        for line in 0..100 {
            writeln!(sink, "{line}").unwrap();
        }
        drop(flush);
        assert!(out.0.lock().unwrap().ends_with(b"98\n99\n"));
    }

    /// Says when a line is being written, and goes on when told to.
    struct Stuck {
        out: Shared,
        entered: SyncSender<()>,
        go_on: Receiver<()>,
    }

    impl Write for Stuck {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            let _ = self.entered.send(());
            let _ = self.go_on.recv();
            self.out.write(line)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn r14_a_reader_that_stopped_reading_costs_lines_and_no_time() {
        let out = Shared::default();
        let (entered, writing) = sync_channel(100);
        let (release, go_on) = channel();
        let stuck = Stuck {
            out: out.clone(),
            entered,
            go_on,
        };
        let (mut sink, flush) = start_with(stuck, lost, 2).unwrap();
        sink.write_all(b"1\n").unwrap();
        writing.recv().unwrap();
        for line in ["2\n", "3\n", "4\n", "5\n"] {
            sink.write_all(line.as_bytes()).unwrap();
        }
        drop(release);
        // There is room in the queue for the end once line 2, after the one about the loss, has left it.
        writing.recv().unwrap();
        writing.recv().unwrap();
        drop(flush);
        let shown = String::from_utf8(out.0.lock().unwrap().clone()).unwrap();
        assert_eq!(shown, "1\n2 lost\n2\n3\n");
    }
}
