//! Makes a store of any size, for benchmarks and tests: `fill-store STORE ACCOUNTS [TARGETS]`.
//!
//! Each account `user000000N` has one Ed25519 key and one grant; the targets (one for a hundred accounts unless said)
//! are `project000000N`, entered by TCP. Prints the login name and the fingerprint of an account in the middle, and
//! makes the index of names beside the store.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use rusqlite::{Connection, Transaction};
use ssh_key::sha2::{Digest, Sha256};
use vestibule::fingerprint::Fingerprint;
use vestibule::store::Writer;

type Fault = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "fill-store: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Fault> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (path, accounts, targets) = match args.as_slice() {
        [path, accounts] => (Path::new(path), accounts.parse::<u64>()?, None),
        [path, accounts, targets] => {
            (Path::new(path), accounts.parse::<u64>()?, Some(targets.parse::<u64>()?))
        }
        _ => return Err("usage: fill-store STORE ACCOUNTS [TARGETS]".into()),
    };
    let targets = targets.unwrap_or(accounts / 100).max(1);
    let index = path.with_file_name("names.idx");
    drop(Writer::init(path, &index, None)?);
    fill(path, accounts, targets)?;
    // Makes the index anew from what is there, and empties -wal.
    drop(Writer::init(path, &index, None)?);

    let middle = accounts / 2;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}+{} {}", account(middle), target(middle % targets), key(middle).0)?;
    Ok(())
}

/// One transaction by hand: `Writer` would ask for each name whether it is taken.
fn fill(path: &Path, accounts: u64, targets: u64) -> Result<(), Fault> {
    let mut conn = Connection::open(path)?;
    // A store that is half filled when the machine fails is thrown away.
    conn.execute_batch(
        "PRAGMA synchronous = OFF; PRAGMA cache_size = -400000; PRAGMA wal_autocheckpoint = 100000",
    )?;
    let tx = conn.transaction()?;
    for number in 0..targets {
        add_target(&tx, number)?;
    }
    let mut add_account = tx.prepare(
        "INSERT INTO accounts(id, name, active, source, created, updated) VALUES(?1, ?2, 1, 'bench', 0, 0)",
    )?;
    let mut add_grant =
        tx.prepare("INSERT INTO grants(account_id, target_id, source, created) VALUES(?1, ?2, 'bench', 0)")?;
    let mut add_key = tx.prepare(
        "INSERT INTO keys(fingerprint, key_type, blob, options, comment, account_id, source, added) \
         VALUES(?1, 'ssh-ed25519', ?2, x'', ?3, ?4, 'bench', 0)",
    )?;
    for number in 0..accounts {
        let id = i64::try_from(number)? + 1;
        let name = account(number);
        add_account.execute((id, &name))?;
        add_grant.execute((id, i64::try_from(number % targets)? + 1))?;
    }
    // In the order of fingerprints, so that their index grows at its end.
    let mut keys: Vec<([u8; 32], u64)> = (0..accounts).map(|number| (key(number).0.0, number)).collect();
    keys.sort_unstable();
    for (fingerprint, number) in keys {
        let comment = format!("{}@laptop", account(number));
        add_key.execute((&fingerprint[..], key(number).1, comment.as_bytes(), i64::try_from(number)? + 1))?;
    }
    drop((add_account, add_grant, add_key));
    tx.commit()?;
    Ok(())
}

fn add_target(tx: &Transaction<'_>, number: u64) -> Result<(), Fault> {
    let (id, name) = (i64::try_from(number)? + 1, target(number));
    tx.execute(
        "INSERT INTO targets(id, name, driver, login_user, policy, source, created, updated) \
         VALUES(?1, ?2, '{\"driver\":\"tcp\",\"address\":{\"fixed\":{\"host\":\"127.0.0.1\",\"port\":9}}}', 'nobody', '{}', \
                'bench', 0, 0)",
        (id, &name),
    )?;
    tx.execute("INSERT INTO target_names(name, target_id) VALUES(?1, ?2)", (&name, id))?;
    Ok(())
}

fn account(number: u64) -> String {
    format!("user{number:07}")
}

fn target(number: u64) -> String {
    format!("project{number:07}")
}

/// The fingerprint and the wire form of a key that nobody has the private half of.
fn key(number: u64) -> (Fingerprint, Vec<u8>) {
    let mut blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20".to_vec();
    blob.extend_from_slice(&Sha256::digest(number.to_be_bytes()));
    (Fingerprint(Sha256::digest(&blob).into()), blob)
}
