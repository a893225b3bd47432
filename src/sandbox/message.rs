//! What passes between OpenCode's shell and the runner of a session: one command with its three standard
//! streams one way, its exit code the other way.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// Where the sidecar is asked for the runner of a session.
pub(crate) const START_SOCKET: &str = "start.sock";

/// More than the kernel lets a program have as arguments and environment.
const MAX_BYTES: u32 = 8 * 1024 * 1024;

/// The longest name of a session; OpenCode's have 30 characters.
const MAX_SESSION: usize = 64;

/// One command.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) directory: PathBuf,
    pub(super) arguments: Vec<OsString>,
    pub(super) environment: Vec<(OsString, OsString)>,
}

/// Standard input, output and error of a command.
pub(super) type Streams = [OwnedFd; 3];

/// Whether this can be the name of a session: it becomes the name of a file.
pub(crate) fn valid_session(session: &str) -> bool {
    (1..=MAX_SESSION).contains(&session.len())
        && session
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// The name of a session's socket.
pub(crate) fn session_socket(session: &str) -> String {
    format!("{session}.sock")
}

/// Connects to a socket of `folder`. The name goes through an open folder, because a socket's whole path
/// may have 107 bytes only.
pub(crate) fn connect_at(folder: &Path, name: &str) -> io::Result<UnixStream> {
    let folder = open_folder(folder)?;
    UnixStream::connect(through(&folder, name))
}

/// Listens at a socket of `folder`, in place of what is there.
pub(crate) fn listen_at(folder: &Path, name: &str) -> io::Result<UnixListener> {
    match std::fs::remove_file(folder.join(name)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let folder = open_folder(folder)?;
    UnixListener::bind(through(&folder, name))
}

fn open_folder(folder: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(open(folder, flags, Mode::empty())?)
}

fn through(folder: &OwnedFd, name: &str) -> PathBuf {
    use std::os::fd::AsRawFd as _;
    PathBuf::from(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd()))
}

// === impl Request ===

impl Request {
    /// Sends it, and the standard streams of this process.
    pub(super) fn send(&self, mut to: &UnixStream) -> io::Result<()> {
        let body = self.encode();
        let length = u32::try_from(body.len())
            .ok()
            .filter(|length| *length <= MAX_BYTES)
            .ok_or_else(|| io::Error::other("the command is too long"))?;
        let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
        let streams: [BorrowedFd<'_>; 3] = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        ancillary.push(SendAncillaryMessage::ScmRights(&streams));
        let head = length.to_le_bytes();
        sendmsg(
            to,
            &[IoSlice::new(&head)],
            &mut ancillary,
            SendFlags::NOSIGNAL,
        )?;
        to.write_all(&body)
    }

    pub(super) fn receive(mut from: &UnixStream) -> io::Result<(Self, Streams)> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut head = [0; 4];
        let received = recvmsg(
            from,
            &mut [IoSliceMut::new(&mut head)],
            &mut ancillary,
            RecvFlags::CMSG_CLOEXEC,
        )?;
        let streams: Vec<OwnedFd> = ancillary
            .drain()
            .filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(files) => Some(files),
                _ => None,
            })
            .flatten()
            .collect();
        let broken = || io::Error::from(io::ErrorKind::InvalidData);
        let streams: Streams = streams.try_into().map_err(|_| broken())?;
        let length = u32::from_le_bytes(head);
        if received.bytes != head.len() || length > MAX_BYTES {
            return Err(broken());
        }
        let mut body = vec![0; length as usize];
        from.read_exact(&mut body)?;
        Ok((Self::decode(&body).ok_or_else(broken)?, streams))
    }

    /// Strings that end in a zero byte: the directory, the number of arguments, the arguments, and the
    /// environment.
    fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        let mut push = |text: &OsStr| {
            body.extend_from_slice(text.as_bytes());
            body.push(0);
        };
        push(self.directory.as_os_str());
        push(OsStr::new(&self.arguments.len().to_string()));
        for argument in &self.arguments {
            push(argument);
        }
        for (name, value) in &self.environment {
            let mut pair = name.clone();
            pair.push("=");
            pair.push(value);
            push(&pair);
        }
        body
    }

    fn decode(body: &[u8]) -> Option<Self> {
        let body = body.strip_suffix(&[0])?;
        let mut parts = body.split(|&byte| byte == 0);
        let owned = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
        let directory = PathBuf::from(owned(parts.next()?));
        let count: usize = std::str::from_utf8(parts.next()?).ok()?.parse().ok()?;
        let arguments: Vec<OsString> = parts.by_ref().take(count).map(owned).collect();
        if arguments.len() != count {
            return None;
        }
        let environment = parts
            .map(|pair| {
                let equals = pair.iter().skip(1).position(|&byte| byte == b'=')? + 1;
                let (name, value) = pair.split_at_checked(equals)?;
                Some((owned(name), owned(value.get(1..)?)))
            })
            .collect::<Option<_>>()?;
        Some(Self {
            directory,
            arguments,
            environment,
        })
    }
}

/// The exit code of a command, or `None` if the other side went away first.
pub(super) fn receive_code(mut from: &UnixStream) -> Option<u8> {
    let mut code = [0];
    from.read_exact(&mut code).ok()?;
    Some(code[0])
}

pub(super) fn send_code(mut to: &UnixStream, code: u8) {
    // Who asked may be gone; then nobody wants to know.
    drop(to.write_all(&[code]));
}

/// Writes a line where the command would have written its errors.
pub(super) fn complain(stderr: OwnedFd, problem: &str) {
    drop(File::from(stderr).write_all(format!("tool-shell: {problem}\n").as_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_comes_through_as_it_is() {
        let request = Request {
            directory: "/work space".into(),
            arguments: ["-c", "echo 'a\nb'", ""].map(OsString::from).into(),
            environment: vec![
                ("A".into(), "1=2".into()),
                ("EMPTY".into(), "".into()),
                (
                    OsString::from_vec(vec![0xff]),
                    OsString::from_vec(vec![0xfe]),
                ),
            ],
        };
        assert_eq!(Request::decode(&request.encode()).unwrap(), request);
        let (here, there) = UnixStream::pair().unwrap();
        request.send(&here).unwrap();
        let (received, streams) = Request::receive(&there).unwrap();
        assert_eq!(received, request);
        assert_eq!(streams.len(), 3);
    }

    #[test]
    fn nonsense_is_refused() {
        for body in [
            &b""[..],
            b"x",
            b"/\0",
            b"/\x005\0a\0",
            b"/\0one\0",
            b"/\x000\0novalue\0",
        ] {
            assert_eq!(Request::decode(body), None, "{body:?}");
        }
        let (here, there) = UnixStream::pair().unwrap();
        (&here).write_all(&[1, 0, 0, 0, 0]).unwrap();
        assert!(Request::receive(&there).is_err(), "without streams");
    }

    #[test]
    fn a_session_is_a_word() {
        assert!(valid_session("ses_0123abcXYZ"));
        for wrong in ["", "../x", "a/b", "a.b", "a b", &"x".repeat(65)] {
            assert!(!valid_session(wrong), "{wrong}");
        }
    }

    #[test]
    fn a_socket_may_lie_deep() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("x".repeat(120));
        std::fs::create_dir(&folder).unwrap();
        let listener = listen_at(&folder, "a.sock").unwrap();
        connect_at(&folder, "a.sock").unwrap();
        listener.accept().unwrap();
        listen_at(&folder, "a.sock").unwrap();
    }
}
