//! Many questions to one host: a few at a time, and answers in the order of the questions.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::SourceFault;

/// Asks about every one of `items`, `threads` at a time. After a fault nothing further is asked.
///
/// # Errors
/// One of the faults.
pub(super) fn ask<T: Sync, A: Send>(
    items: &[T],
    threads: u32,
    question: impl Fn(&T) -> Result<A, SourceFault> + Sync,
) -> Result<Vec<A>, SourceFault> {
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let answers = Mutex::new(Vec::with_capacity(items.len()));
    let work = || -> Result<(), SourceFault> {
        while !failed.load(Ordering::Relaxed) {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else { break };
            let answer = question(item).inspect_err(|_| failed.store(true, Ordering::Relaxed))?;
            if let Ok(mut answers) = answers.lock() {
                answers.push((at, answer));
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| -> Result<(), SourceFault> {
        let spare = usize::try_from(threads).unwrap_or(1).min(items.len()).saturating_sub(1);
        // One that can't be started is one less.
        let others: Vec<_> =
            (0..spare).filter_map(|_| std::thread::Builder::new().spawn_scoped(scope, work).ok()).collect();
        let mut ended = work();
        for other in others {
            let end = other.join().unwrap_or_else(|_| Err(SourceFault::Source("a thread died".to_owned())));
            ended = ended.and(end);
        }
        ended
    })?;
    let mut answers = answers.into_inner().unwrap_or_default();
    answers.sort_unstable_by_key(|(at, _)| *at);
    if answers.len() < items.len() {
        return Err(SourceFault::Source("an answer was lost".to_owned()));
    }
    Ok(answers.into_iter().map(|(_, answer)| answer).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_in_order_and_a_fault_ends_the_asking() {
        let items: Vec<u32> = (0..100).collect();
        let asked = AtomicUsize::new(0);
        let at_once = AtomicUsize::new(0);
        let most = AtomicUsize::new(0);
        let double = ask(&items, 4, |n| {
            most.fetch_max(at_once.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(std::time::Duration::from_millis(u64::from(n % 3)));
            at_once.fetch_sub(1, Ordering::SeqCst);
            Ok(n * 2)
        });
        assert_eq!(double.unwrap(), items.iter().map(|n| n * 2).collect::<Vec<_>>());
        assert!((2..=4).contains(&most.load(Ordering::SeqCst)), "{most:?}");
        let failed = ask(&items, 2, |n| {
            asked.fetch_add(1, Ordering::SeqCst);
            if *n == 5 { Err(SourceFault::Source("five".to_owned())) } else { Ok(*n) }
        });
        assert!(failed.is_err());
        assert!(asked.load(Ordering::SeqCst) < 50);
        assert!(ask(&[] as &[u32], 4, |n| Ok(*n)).unwrap().is_empty());
    }
}
