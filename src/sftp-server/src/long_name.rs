//! A directory entry as `ls -l` would show it, which is what the protocol asks for and OpenSSH's server answers.

use std::io::Write;

use nix::sys::stat::FileStat;
use vestibule_sys::time;

use crate::users::Users;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Files that are older, or not yet written, are shown with their year.
const HALF_A_YEAR: i64 = 365 * 24 * 60 * 60 / 2;

/// As long as a line gets; longer names are cut. OpenSSH's buffer.
const MAX_LINE: usize = 1023;

/// Writes the line for `name` to `line`, which is emptied before.
pub(crate) fn long_name(line: &mut Vec<u8>, name: &[u8], stat: &FileStat, users: &Users, now: i64) {
    line.clear();
    line.extend(mode(stat.st_mode));
    // Writing to memory does not fail.
    let _ = write!(line, "  {:>3} ", stat.st_nlink);
    column(line, users.user(stat.st_uid), stat.st_uid);
    column(line, users.group(stat.st_gid), stat.st_gid);
    let _ = write!(line, "{:>8} ", stat.st_size);
    if let Some(at) = time::to_local(stat.st_mtime) {
        let month = MONTHS.get(at.month).copied().unwrap_or_default();
        let _ = if (0..HALF_A_YEAR).contains(&now.saturating_sub(stat.st_mtime)) {
            write!(line, "{month} {:>2} {:02}:{:02}", at.day, at.hour, at.minute)
        } else {
            write!(line, "{month} {:>2}  {}", at.day, at.year)
        };
    }
    line.push(b' ');
    line.extend(name);
    line.truncate(MAX_LINE);
}

/// A name or, where there is none, a number, in at least eight columns.
fn column(line: &mut Vec<u8>, name: Option<&[u8]>, number: u32) {
    let start = line.len();
    match name {
        Some(name) => line.extend(name),
        None => drop(write!(line, "{number}")),
    }
    line.resize(line.len().max(start + 8) + 1, b' ');
}

/// The ten letters of a mode: strmode(3).
fn mode(mode: u32) -> [u8; 10] {
    let kind = match mode & nix::libc::S_IFMT {
        nix::libc::S_IFDIR => b'd',
        nix::libc::S_IFCHR => b'c',
        nix::libc::S_IFBLK => b'b',
        nix::libc::S_IFREG => b'-',
        nix::libc::S_IFLNK => b'l',
        nix::libc::S_IFSOCK => b's',
        nix::libc::S_IFIFO => b'p',
        _ => b'?',
    };
    let bit = |bit: u32, letter: u8| if mode & bit != 0 { letter } else { b'-' };
    let execute = |bit: u32, special: u32, letter: u8| match (mode & bit != 0, mode & special != 0) {
        (true, true) => letter,
        (false, true) => letter.to_ascii_uppercase(),
        (true, false) => b'x',
        (false, false) => b'-',
    };
    [
        kind,
        bit(0o400, b'r'),
        bit(0o200, b'w'),
        execute(0o100, 0o4000, b's'),
        bit(0o040, b'r'),
        bit(0o020, b'w'),
        execute(0o010, 0o2000, b's'),
        bit(0o004, b'r'),
        bit(0o002, b'w'),
        execute(0o001, 0o1000, b't'),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_have_their_letters() {
        for (number, letters) in [
            (0o100_644, "-rw-r--r--"),
            (0o040_755, "drwxr-xr-x"),
            (0o120_777, "lrwxrwxrwx"),
            (0o041_777, "drwxrwxrwt"),
            (0o041_776, "drwxrwxrwT"),
            (0o104_755, "-rwsr-xr-x"),
            (0o102_644, "-rw-r-Sr--"),
            (0o020_620, "crw--w----"),
            (0o060_660, "brw-rw----"),
            (0o010_600, "prw-------"),
            (0o140_000, "s---------"),
            (0, "?---------"),
        ] {
            assert_eq!(std::str::from_utf8(&mode(number)).unwrap(), letters, "{number:o}");
        }
    }

    #[test]
    fn a_line_has_the_columns_of_openssh() {
        let mut stat = nix::sys::stat::lstat("/").unwrap();
        (stat.st_mode, stat.st_nlink, stat.st_uid, stat.st_gid) = (0o100_644, 5, 7, 123_456_789);
        (stat.st_size, stat.st_mtime) = (42, 1_000_000_000);
        let mut line = Vec::new();
        let users = Users::default();
        let of = |line: &[u8]| String::from_utf8(line.to_vec()).unwrap();
        long_name(&mut line, b"name", &stat, &users, 1_000_000_000 + HALF_A_YEAR);
        // The day is the ninth in all time zones but the westernmost.
        assert!(of(&line).starts_with("-rw-r--r--    5 7        123456789       42 Sep  "), "{}", of(&line));
        assert!(of(&line).ends_with("  2001 name"), "{}", of(&line));
        long_name(&mut line, b"name", &stat, &users, 1_000_000_000);
        assert!(of(&line).contains(":46 name"), "{}", of(&line));
        long_name(&mut line, b"name", &stat, &users, 999_999_999);
        assert!(of(&line).ends_with("  2001 name"), "{}", of(&line));
        long_name(&mut line, &[b'x'; 2000], &stat, &users, 0);
        assert_eq!(line.len(), MAX_LINE);
    }
}
