//! The NSS module: makes every login name that leads to a target a passwd entry, so that stock sshd goes on with it.
//!
//! First in the way of a login, and in the way of everything else: glibc loads this into every process that looks a
//! user up and doesn't find it in the services before (`passwd: files vestibule` in nsswitch.conf): setuid programs,
//! forked children, programs with many threads. So it keeps nothing: no global state, no open file, no thread, no look
//! at the environment or the locale, no network, no allocation on the way of an answer. It asks the name index (see
//! `vestibule_names::index`) and says "not found" to anything else.
//!
//! | asked | answer |
//! |---|---|
//! | a name that leads to a target | that name, the shared uid and gid, password `*`, an empty home, `/bin/sh` |
//! | any other name | not found |
//! | the shared uid | the name `vestibule`, for programs that want a name for a process |
//! | any other uid | not found |
//! | all users | none: the names are not for listing |
//! | anything, when index or configuration is missing or not to be trusted | unavailable: glibc asks the next service |
//!
//! Layers: `border` is what glibc calls, the only unsafe code; `lookup` decides; `vestibule_names::shared` reads
//! who the shared identity is; `entry` lays an entry out in the caller's buffer.

#[cfg(panic = "abort")]
compile_error!("a panic must not end the program that looks a user up: build with panic=unwind");

mod border;
mod entry;
mod lookup;
