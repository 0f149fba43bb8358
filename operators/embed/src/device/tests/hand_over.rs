//! The hand-over, with a device made up for it: a text of some tokens has their sum times a factor, and their number.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use super::super::owner::{Answer, Job, Message, Owner, Seat, Served, Worker};

const BUDGET: usize = 100;
/// A network of this factor has no room, and a text with this token cannot be embedded.
const BROKEN: u32 = 666;
/// A text with this one makes the device panic.
const PANICS: u32 = 667;

#[derive(Default)]
struct Sums {
    /// Texts of each run.
    runs: Arc<Mutex<Vec<usize>>>,
}

impl Worker for Sums {
    type Plan = u32;
    type Network = u32;

    fn place(&mut self, factor: u32) -> Result<u32, String> {
        if factor == BROKEN { Err("no room".to_owned()) } else { Ok(factor) }
    }

    fn run(&mut self, factor: &u32, texts: &[&[u32]]) -> Answer {
        assert!(!texts.concat().contains(&PANICS), "a fault of the driver");
        if texts.concat().contains(&BROKEN) {
            return Err("an illegal address".to_owned());
        }
        self.runs.lock().unwrap().push(texts.len());
        Ok(texts.iter().flat_map(|text| vector(*factor, text)).collect())
    }
}

fn vector(factor: u32, text: &[u32]) -> [f32; 2] {
    [(text.iter().sum::<u32>() * factor) as f32, text.len() as f32]
}

fn owner() -> Arc<Owner<u32>> {
    Owner::start("test", || Ok(Sums::default())).unwrap()
}

fn embed(seat: &Seat<u32>, texts: &[&[u32]]) -> Answer {
    seat.send(texts.iter().map(|text| text.to_vec()).collect()).unwrap().wait()
}

#[test]
fn eight_threads_get_the_vectors_of_their_texts() {
    let owner = owner();
    let seats = [1, 2, 3].map(|factor| (factor, owner.place(factor, BUDGET).unwrap()));
    std::thread::scope(|scope| {
        for thread in 0..8u32 {
            let (factor, seat) = &seats[thread as usize % seats.len()];
            scope.spawn(move || {
                for round in 0..100u32 {
                    let texts: Vec<Vec<u32>> = (0..=round % 9).map(|at| vec![thread + at; at as usize]).collect();
                    let texts: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
                    let expected: Vec<f32> = texts.iter().flat_map(|text| vector(*factor, text)).collect();
                    assert_eq!(embed(seat, &texts).unwrap(), expected);
                }
            });
        }
    });
}

fn send(inbox: &SyncSender<Message<u32>>, network: u64, texts: &[&[u32]]) -> Receiver<Answer> {
    let (reply, answer) = sync_channel(1);
    let texts = texts.iter().map(|text| text.to_vec()).collect();
    inbox.send(Message::Embed(Job { network, texts, reply })).unwrap();
    answer
}

fn place(inbox: &SyncSender<Message<u32>>, id: u64, plan: u32) {
    let (reply, _) = sync_channel(1);
    inbox.send(Message::Place { id, plan, budget: BUDGET, reply }).unwrap();
}

/// What waits when the device becomes free runs together, up to the budget; other networks keep their turn.
#[test]
fn texts_that_wait_join() {
    let (inbox, messages) = sync_channel(64);
    place(&inbox, 1, 1);
    place(&inbox, 2, 2);
    let answers = [
        send(&inbox, 1, &[&[1, 1]]),
        send(&inbox, 2, &[&[5, 5]]),
        send(&inbox, 1, &[&[2, 2], &[3]]),
        send(&inbox, 1, &[&[1; 97]]),
        send(&inbox, 1, &[&[4; 95]]),
    ];
    drop(inbox);
    let sums = Sums::default();
    let runs = sums.runs.clone();
    Served::over(sums).serve(&messages);
    let got = answers.map(|answer| answer.recv().unwrap().unwrap());
    let expected: [&[f32]; 5] = [&[2.0, 2.0], &[20.0, 2.0], &[4.0, 2.0, 3.0, 1.0], &[97.0, 97.0], &[380.0, 95.0]];
    assert_eq!(got.each_ref().map(Vec::as_slice), expected);
    // 2 + 3 + 95 tokens, which is the budget; then the other network's; then those that were too many.
    assert_eq!(*runs.lock().unwrap(), [4, 1, 1]);
}

#[test]
fn a_fault_and_a_panic_are_errors_and_the_device_goes_on() {
    let owner = owner();
    let seat = owner.place(1, BUDGET).unwrap();
    assert_eq!(embed(&seat, &[&[BROKEN]]).unwrap_err(), "an illegal address");
    let error = embed(&seat, &[&[PANICS]]).unwrap_err();
    assert!(error.contains("panicked: a fault of the driver"), "{error}");
    assert_eq!(embed(&seat, &[&[1, 2]]).unwrap(), [3.0, 2.0]);
    assert_eq!(owner.place(BROKEN, BUDGET).err().unwrap(), "no room");
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
    let owner = Owner::behind(inbox);
    let placed = std::thread::scope(|scope| {
        let asking = scope.spawn(|| owner.place(1, BUDGET));
        // Nobody serves: the request is taken from the queue and thrown away.
        drop(messages.recv().unwrap());
        asking.join().unwrap()
    });
    assert!(placed.err().unwrap().contains("has ended"));
    drop(messages);
    assert!(owner.place(1, BUDGET).err().unwrap().contains("has ended"));
}
