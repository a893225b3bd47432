//! A tiny `EventSource`: the parsing rules of the HTML standard, 9.2.6, taken word for word.

/// A dispatched event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parsed {
    pub(crate) kind: String,
    pub(crate) data: String,
    /// The client's last event id at the time.
    pub(crate) id: String,
}

#[derive(Debug, Default)]
pub(crate) struct SseReader {
    rest: Vec<u8>,
    kind: String,
    data: String,
    id_buffer: String,
    pub(crate) last_event_id: String,
    pub(crate) retry_ms: Option<u64>,
}

impl SseReader {
    /// A client that comes back with a cursor.
    pub(crate) fn with_cursor(id: &str) -> Self {
        Self {
            id_buffer: id.to_owned(),
            last_event_id: id.to_owned(),
            ..Self::default()
        }
    }

    /// Takes the next bytes and gives the events they complete.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Vec<Parsed> {
        self.rest.extend_from_slice(bytes);
        let mut events = Vec::new();
        while let Some((line, used)) = self.line() {
            self.rest.drain(..used);
            events.extend(self.take_line(&line));
        }
        events
    }

    /// Whether all that was read has been understood: no half line, no half block.
    pub(crate) fn is_between_blocks(&self) -> bool {
        self.rest.is_empty() && self.kind.is_empty() && self.data.is_empty()
    }

    /// A line ends with CR LF, LF or CR; a CR at the end of what is known may have its LF to come.
    fn line(&self) -> Option<(String, usize)> {
        let end = self
            .rest
            .iter()
            .position(|byte| matches!(byte, b'\n' | b'\r'))?;
        let used = match (self.rest[end], self.rest.get(end + 1)) {
            (b'\r', None) => return None,
            (b'\r', Some(b'\n')) => end + 2,
            _ => end + 1,
        };
        let line = std::str::from_utf8(&self.rest[..end]).expect("the stream is UTF-8");
        Some((line.to_owned(), used))
    }

    fn take_line(&mut self, line: &str) -> Option<Parsed> {
        if line.is_empty() {
            return self.dispatch();
        }
        let (field, value) = match line.split_once(':') {
            Some((field, value)) => (field, value.strip_prefix(' ').unwrap_or(value)),
            None => (line, ""),
        };
        match field {
            "event" => value.clone_into(&mut self.kind),
            "data" => {
                self.data.push_str(value);
                self.data.push('\n');
            }
            "id" if !value.contains('\0') => value.clone_into(&mut self.id_buffer),
            "retry" => self.retry_ms = value.parse().ok().or(self.retry_ms),
            _ => {}
        }
        None
    }

    fn dispatch(&mut self) -> Option<Parsed> {
        self.last_event_id.clone_from(&self.id_buffer);
        let kind = std::mem::take(&mut self.kind);
        let mut data = std::mem::take(&mut self.data);
        if data.is_empty() {
            return None;
        }
        data.pop();
        let kind = if kind.is_empty() {
            "message".to_owned()
        } else {
            kind
        };
        Some(Parsed {
            kind,
            data,
            id: self.last_event_id.clone(),
        })
    }
}
