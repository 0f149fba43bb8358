//! The hand-over, with a device made up for it: a row of two numbers is answered by their sum times a factor.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use arrow_array::{ArrayRef, Float32Array};

use super::super::owner::{Job, Message, Owner, Seat, Served, Widths, Worker};
use super::super::shapes::TRIED;

const WIDTHS: Widths = Widths { inputs: 2, answers: 1, widest: 2 };
/// A row with this number cannot be scored.
const BROKEN: f32 = -666.0;
/// One with this makes the device panic.
const PANICS: f32 = -667.0;

#[derive(Default)]
struct Sums {
    /// Rows of each run.
    runs: Arc<Mutex<Vec<usize>>>,
}

impl Worker for Sums {
    type Plan = f32;
    type Network = f32;

    fn place(&mut self, factor: f32) -> Result<f32, String> {
        if factor == BROKEN { Err("no room".to_owned()) } else { Ok(factor) }
    }

    fn run(&mut self, factor: &f32, rows: &[f32], count: usize) -> Result<Vec<f32>, String> {
        assert_eq!(rows.len(), count * 2);
        assert!(!rows.contains(&PANICS), "a fault of the driver");
        if rows.contains(&BROKEN) {
            return Err("an illegal address".to_owned());
        }
        self.runs.lock().unwrap().push(count);
        Ok(rows.chunks_exact(2).map(|row| (row[0] + row[1]) * factor).collect())
    }
}

fn column(rows: &[[f32; 2]]) -> ArrayRef {
    Arc::new(Float32Array::from(rows.concat()))
}

fn owner() -> Arc<Owner<f32>> {
    Owner::start("test", || Ok(Sums::default())).unwrap()
}

fn seat(owner: &Arc<Owner<f32>>, factor: f32) -> Seat<f32> {
    owner.place(factor, WIDTHS, vec![0.5; TRIED * 2]).unwrap().0
}

fn score(seat: &Seat<f32>, rows: &[[f32; 2]]) -> Result<Vec<f32>, String> {
    seat.score(column(rows), rows.len())
}

#[test]
fn eight_threads_get_their_own_answers() {
    let owner = owner();
    let seats = [1.0, 2.0, 3.0].map(|factor| (factor, seat(&owner, factor)));
    std::thread::scope(|scope| {
        for thread in 0..8u16 {
            let (factor, seat) = &seats[usize::from(thread) % seats.len()];
            scope.spawn(move || {
                for round in 0..200u16 {
                    let rows: Vec<[f32; 2]> = (0..=round).map(|x| [f32::from(thread), f32::from(x)]).collect();
                    let expected: Vec<f32> = rows.iter().map(|[a, b]| (a + b) * factor).collect();
                    assert_eq!(score(seat, &rows).unwrap(), expected);
                }
            });
        }
    });
}

type Answer = Receiver<Result<Vec<f32>, String>>;

fn send(inbox: &SyncSender<Message<f32>>, network: u64, rows: &[[f32; 2]]) -> Answer {
    let (reply, answer) = sync_channel(1);
    let job = Job { network, column: column(rows), rows: rows.len(), reply };
    inbox.send(Message::Score(job)).unwrap();
    answer
}

fn place(inbox: &SyncSender<Message<f32>>, id: u64, plan: f32) {
    let (reply, _) = sync_channel(1);
    inbox.send(Message::Place { id, plan, widths: WIDTHS, rows: vec![0.5; TRIED * 2], reply }).unwrap();
}

/// What waits when the device becomes free runs as one batch, up to the budget; other networks keep their turn.
#[test]
fn batches_that_wait_join() {
    let (inbox, messages) = sync_channel(64);
    place(&inbox, 1, 1.0);
    place(&inbox, 2, 2.0);
    let answers = [
        send(&inbox, 1, &[[1.0, 1.0]]),
        send(&inbox, 2, &[[5.0, 5.0]]),
        send(&inbox, 1, &[[2.0, 2.0], [3.0, 3.0]]),
        send(&inbox, 1, &vec![[1.0, 0.0]; 16_382]),
        send(&inbox, 1, &[[4.0, 4.0]]),
    ];
    drop(inbox);
    let sums = Sums::default();
    let runs = sums.runs.clone();
    let mut served = Served::over(sums);
    served.serve(&messages);
    let got = answers.map(|answer| answer.recv().unwrap().unwrap());
    assert_eq!(
        (&got[0][..], &got[1][..], &got[2][..], &got[4][..]),
        (&[2.0][..], &[20.0][..], &[4.0, 6.0][..], &[8.0][..])
    );
    assert_eq!(got[3], vec![1.0; 16_382]);
    let runs = runs.lock().unwrap();
    // Five shapes are tried for each of two networks; then 1 + 2 + 1 rows, 1 row of the other, and 16,382 by themselves.
    assert_eq!(runs[10..], [64, 64, 16_384]);
}

#[test]
fn a_batch_larger_than_the_device_takes_goes_in_pieces() {
    let owner = owner();
    let seat = seat(&owner, 1.0);
    let rows: Vec<[f32; 2]> = (0..40_000u16).map(|x| [f32::from(x), 0.0]).collect();
    let expected: Vec<f32> = rows.iter().map(|row| row[0]).collect();
    assert_eq!(score(&seat, &rows).unwrap(), expected);
}

#[test]
fn a_fault_and_a_panic_are_errors_and_the_device_goes_on() {
    let owner = owner();
    let seat = seat(&owner, 1.0);
    assert_eq!(score(&seat, &[[BROKEN, 0.0]]).unwrap_err(), "an illegal address");
    let error = score(&seat, &[[PANICS, 0.0]]).unwrap_err();
    assert!(error.contains("panicked: a fault of the driver"), "{error}");
    assert_eq!(score(&seat, &[[1.0, 2.0]]).unwrap(), [3.0]);
    assert_eq!(owner.place(BROKEN, WIDTHS, vec![0.5; TRIED * 2]).err().unwrap(), "no room");
}

#[test]
fn a_device_that_does_not_open_says_why() {
    let error = Owner::start("test", || Err::<Sums, _>("no driver".to_owned())).err().unwrap();
    assert_eq!(error, "no driver");
    let error = Owner::start("test", || -> Result<Sums, String> { panic!("a library is missing") }).err().unwrap();
    assert!(error.contains("a library is missing"), "{error}");
}

/// The thread ends with the last door; whoever still asks is told so.
#[test]
fn who_asks_a_device_that_is_gone_is_told_so() {
    let (inbox, messages) = sync_channel(64);
    place(&inbox, 1, 1.0);
    let answer = send(&inbox, 1, &[[1.0, 1.0]]);
    drop(messages);
    assert!(answer.recv().is_err(), "no owner, no answer");
    let owner = Owner::behind(inbox);
    let error = owner.place(1.0, WIDTHS, Vec::new()).err().unwrap();
    assert!(error.contains("the device has ended"), "{error}");
}

#[test]
fn a_network_that_was_removed_is_not_there() {
    let (inbox, messages) = sync_channel(64);
    place(&inbox, 1, 1.0);
    inbox.send(Message::Remove { id: 1 }).unwrap();
    let answer = send(&inbox, 1, &[[1.0, 1.0]]);
    drop(inbox);
    Served::over(Sums::default()).serve(&messages);
    assert!(answer.recv().unwrap().unwrap_err().contains("not on the device"));
}
