//! A seed gives the same run, bit by bit: in one process twice, in two processes, and whether its
//! story is told or not.

use std::process::Command;

use simulation::trace::Telling;
use simulation::{run, task};

const SEEDS: [u64; 9] = [1, 2, 3, 4, 5, 6, 9, 15, 0xffff_ffff_ffff_ffff];

fn digest_of_process(seed: u64) -> String {
    let program = env!("CARGO_BIN_EXE_simulation");
    let output = Command::new(program).args(["digest", &seed.to_string()]).output();
    let output = output.expect("the program starts");
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

#[test]
fn a_seed_gives_the_same_run_everywhere() {
    task::configure();
    let mut digests = Vec::new();
    for seed in SEEDS {
        let silent = run::run_seed(seed, Telling::Silent);
        let told = run::run_seed(seed, Telling::Kept);
        assert!(silent.count("steps") > 1_000, "{silent}");
        assert!(!told.story.is_empty());
        assert_eq!((silent.digest, &silent.counts), (told.digest, &told.counts), "seed {seed}");
        let first = digest_of_process(seed);
        assert_eq!(first, format!("{:016x}", silent.digest), "seed {seed}");
        assert_eq!(first, digest_of_process(seed), "seed {seed}");
        digests.push(first);
    }
    digests.sort();
    digests.dedup();
    assert_eq!(digests.len(), SEEDS.len(), "seeds differ");
}
