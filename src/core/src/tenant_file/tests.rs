use super::*;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

/// A home with `.ssh`, and what is asked of it. In-process: the tests' harness has threads, and nothing forks then.
struct Home(tempfile::TempDir);

const OWN: &str = ".ssh/authorized_keys";

impl Home {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("home/.ssh")).unwrap();
        fs::write(dir.path().join("secret"), "root:secret").unwrap();
        Home(dir)
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("home")
    }

    fn keys(&self) -> PathBuf {
        self.path().join(OWN)
    }

    fn read(&self) -> Result<Option<Vec<u8>>, KeyFileError> {
        read_beneath(&self.path(), Resolve::NoLinks, Path::new(OWN), MAX_OWN)
    }
}

#[test]
fn a_file_is_read_and_none_is_none() {
    let home = Home::new();
    assert_eq!(home.read(), Ok(None));
    fs::write(home.keys(), "keys\n").unwrap();
    assert_eq!(home.read(), Ok(Some(b"keys\n".to_vec())));
    fs::remove_dir_all(home.path().join(".ssh")).unwrap();
    assert_eq!(home.read(), Ok(None), "no .ssh");
    fs::write(home.path().join(".ssh"), "").unwrap();
    assert_eq!(home.read(), Ok(None), ".ssh is a file");
}

#[test]
fn a_link_is_followed_inside_and_never_out() {
    for (to, want) in [
        ("../real", Ok(Some(b"keys".to_vec()))),
        ("../../secret", Err(KeyFileError::Outside)),
        ("/etc/shadow", Err(KeyFileError::Outside)),
        ("/proc/self/mem", Err(KeyFileError::Outside)),
        ("/proc/self/fd/0", Err(KeyFileError::Outside)),
        ("/dev/zero", Err(KeyFileError::Outside)),
        ("authorized_keys", Err(KeyFileError::Outside)), // itself
    ] {
        let home = Home::new();
        fs::write(home.path().join("real"), "keys").unwrap();
        symlink(to, home.keys()).unwrap();
        assert_eq!(home.read(), want, "{to}");
    }
    let home = Home::new();
    fs::remove_dir(home.path().join(".ssh")).unwrap();
    symlink("..", home.path().join(".ssh")).unwrap();
    fs::write(home.0.path().join("authorized_keys"), "another tenant's").unwrap();
    assert_eq!(home.read(), Err(KeyFileError::Outside), "a directory that leads out");
}

#[test]
fn what_is_no_regular_file_is_not_opened() {
    let home = Home::new();
    fs::create_dir(home.keys()).unwrap();
    assert_eq!(home.read(), Err(KeyFileError::NotRegular), "directory");
    fs::remove_dir(home.keys()).unwrap();
    nix::unistd::mkfifo(&home.keys(), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(home.read(), Err(KeyFileError::NotRegular), "fifo");
    fs::remove_file(home.keys()).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(home.keys()).unwrap();
    assert_eq!(home.read(), Err(KeyFileError::NotRegular), "socket");
}

#[test]
fn a_file_that_everybody_may_write_is_not_used() {
    let home = Home::new();
    fs::write(home.keys(), "keys").unwrap();
    fs::set_permissions(home.keys(), fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(home.read(), Err(KeyFileError::WorldWritable));
}

#[test]
fn a_file_has_64_kib_at_most() {
    let home = Home::new();
    fs::write(home.keys(), vec![b'#'; 64 * 1024]).unwrap();
    assert_eq!(home.read().map(|f| f.map(|f| f.len())), Ok(Some(64 * 1024)));
    fs::write(home.keys(), vec![b'#'; 64 * 1024 + 1]).unwrap();
    assert_eq!(home.read(), Err(KeyFileError::TooLarge(MAX_OWN)));
}

/// A message, and what it says.
type Row<'a> = (&'a [u8], Result<Option<Vec<u8>>, KeyFileError>);

#[test]
fn a_message_is_whole_or_nothing() {
    let end = Tag::End as u8;
    let table: [Row<'_>; 9] = [
        (&[Tag::File as u8, b'k', end], Ok(Some(b"k".to_vec()))),
        (&[Tag::File as u8, end], Ok(Some(Vec::new()))),
        (&[Tag::None as u8, end], Ok(None)),
        (&[Tag::Os as u8, 0, 0, 0, 13, end], Err(KeyFileError::Os(13))),
        (&[Tag::Os as u8, 0, 13, end], Err(KeyFileError::Child)),
        (&[Tag::File as u8, b'k'], Err(KeyFileError::Child)),
        (&[Tag::File as u8], Err(KeyFileError::Child)),
        (&[99, end], Err(KeyFileError::Child)),
        (&[], Err(KeyFileError::Child)),
    ];
    for (message, want) in table {
        assert_eq!(parse(message), want, "{message:?}");
    }
}

#[test]
fn a_pipe_that_says_nothing_is_not_waited_for() {
    let (reader, _writer) = process::pipe().unwrap();
    let limit = Duration::from_millis(20);
    let start = Instant::now();
    assert_eq!(receive(reader, start + limit, limit), Err(KeyFileError::Deadline(limit)));
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_pipe_that_does_not_end_is_not_read_for_ever() {
    let (reader, writer) = process::pipe().unwrap();
    let feeder = std::thread::spawn(move || {
        let mut writer = File::from(writer);
        while writer.write_all(&[Tag::File as u8; 4096]).is_ok() {}
    });
    let limit = Duration::from_secs(20);
    assert_eq!(receive(reader, Instant::now() + limit, limit), Err(KeyFileError::Child));
    feeder.join().unwrap();
}
