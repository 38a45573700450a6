//! `--prove --own-tests`: does a requirement's own test notice when the requirement's own code is broken?
//!
//! cargo-mutants names the mutants of the tagged items, [`listed`], and [`parts`] adds those of what tags in bodies stand
//! above. [`schemata`] compiles them all into the test binaries of a copy of the project, [`scratch`]. So one build serves
//! every mutant, requirement and level. For each mutant of a requirement, [`runner`] runs the requirement's tagged tests
//! until one fails. [`state`] remembers each outcome.

mod bodies;
mod listed;
mod parts;
mod plan;
mod runner;
mod schemata;
mod scratch;
mod state;

use super::mutants::Choice;
use super::proofs::{Proof, Proofs, Verdict};
use super::results;
use super::sources::Tag;
use anyhow::{Context as _, bail};
use plan::{Level, Plan, Subject, Tier};
use runner::{Ended, Listed};
use schemata::Instrumented;
use scratch::{Binary, Built, Scratch};
use state::{Fact, State};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A slower test may fail because of a deadline of its own.
const SLOW: Duration = Duration::from_secs(1);

/// The settings of a run.
#[derive(Debug)]
pub(super) struct Options {
    /// The number of tests that run at a time.
    pub(super) jobs: usize,
    /// The time limit of a test, beyond four times its time on the unbroken code.
    pub(super) limit: Duration,
    /// The time to stop trying; the next run tries the rest.
    pub(super) end: Option<Instant>,
}

/// Proves the chosen requirements and updates `proofs`.
pub(super) fn prove(
    root: &Path,
    tags: &[Tag],
    choice: &Choice<'_>,
    options: &Options,
    proofs: &mut Proofs,
) -> anyhow::Result<()> {
    if !results::is_installed("mutants") {
        bail!("--own-tests needs cargo-mutants: cargo install --locked cargo-mutants");
    }
    let folder = results::folder(root)?.join("own-tests");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    // Cargo and the tests start elsewhere.
    let folder = folder.canonicalize()?;
    let plan = Plan::of(root, &folder.join("safe"), tags, choice)?;
    let state = State::open(&folder.join("state.txt"))?;
    let slow = plan.tests.iter().map(|_| Mutex::default()).collect();
    let run = Run { root, plan: &plan, options, state, failing: Mutex::default(), slow };
    let found = run.all(&folder)?;
    let mut not_noticed = String::new();
    for subject in &plan.subjects {
        let (proof, missed) = run.proof(subject, &found);
        proofs.update(&subject.id, proof);
        not_noticed += &missed;
    }
    let file = folder.join("not-noticed.txt");
    fs::write(&file, not_noticed).with_context(|| format!("cannot write {}", file.display()))?;
    eprintln!("srs-report: the mutants that were not noticed are in {}", file.display());
    Ok(())
}

struct Run<'r> {
    root: &'r Path,
    plan: &'r Plan,
    options: &'r Options,
    state: State,
    /// The tests that fail without a mutant, or have failed so once.
    failing: Mutex<BTreeSet<usize>>,
    /// For each test, held while it runs if it is slow: it may build a program at a fixed place.
    slow: Vec<Mutex<()>>,
}

/// A test of the plan, with its binary and its names there.
#[derive(Debug, Clone)]
struct Found {
    binary: Binary,
    names: Vec<String>,
    /// Its time on the unbroken code; `None` if it fails there.
    unbroken: Option<Duration>,
}

/// The tests of the plan by number, without those that no binary has.
type Tests = HashMap<usize, Found>;

impl Run<'_> {
    /// Tries all mutants whose outcome is unknown. Returns the tests that exist.
    fn all(&self, folder: &Path) -> anyhow::Result<Tests> {
        let mut left_out = self.unviable();
        let mut alone = BTreeSet::new();
        let (scratch, instrumented, binaries) = loop {
            let began = Instant::now();
            let instrumented = self.instrumented(&left_out, &mut alone)?;
            let scratch = self.scratch(folder, &instrumented)?;
            let built = scratch.build(&self.plan.targets(None))?;
            eprintln!("srs-report: a build in {} s", began.elapsed().as_secs());
            match built {
                Built::Binaries(binaries) => break (scratch, instrumented, binaries),
                Built::Errors(places, message) => {
                    self.reject(&places, &message, &instrumented, &mut left_out, &mut alone)?;
                }
            }
        };
        for number in instrumented.values().flat_map(|file| &file.arms).map(|(_, number)| *number) {
            self.state.set(self.plan.mutants[number].key, Fact::Viable)?;
        }
        let mut tests = self.find(binaries)?;
        let shared: Vec<usize> =
            (1..self.plan.mutants.len()).filter(|it| !alone.contains(it) && !left_out.contains(it)).collect();
        self.time(&mut tests)?;
        self.try_all(&shared, &tests)?;
        for (done, number) in alone.iter().copied().enumerate() {
            if self.time_is_up() || !self.is_open(number, &tests) {
                continue;
            }
            eprintln!("srs-report: {} of {} mutants that need a build of their own", done + 1, alone.len());
            self.try_alone(number, &scratch, &instrumented, &tests)?;
        }
        // Only now is it known where nothing but the last resort compiles.
        let is_left = |tests: &Tests| shared.iter().any(|number| self.is_open(*number, tests));
        if !alone.is_empty()
            && !self.time_is_up()
            && is_left(&tests)
            && let Built::Binaries(binaries) = scratch.build(&self.plan.targets(None))?
        {
            tests = self.find(binaries)?;
            self.time(&mut tests)?;
            self.try_all(&shared, &tests)?;
        }
        Ok(tests)
    }

    /// The mutants that are known not to compile.
    fn unviable(&self) -> BTreeSet<usize> {
        let is_unviable = |it: &usize| self.state.get(self.plan.mutants[*it].key) == Some(Fact::Unviable);
        (1..self.plan.mutants.len()).filter(is_unviable).collect()
    }

    /// The mutated files. Adds the mutants that cannot share a build to `alone`.
    fn instrumented(
        &self,
        left_out: &BTreeSet<usize>,
        alone: &mut BTreeSet<usize>,
    ) -> anyhow::Result<BTreeMap<String, Instrumented>> {
        let mut files = BTreeMap::new();
        for (path, text) in &self.plan.files {
            let mutations = self.plan.mutations(path).filter(|it| !left_out.contains(&it.number));
            let mutations: Vec<_> = mutations.filter(|it| !alone.contains(&it.number)).cloned().collect();
            let done = schemata::instrument(text, &mutations).with_context(|| format!("{path} is not Rust"))?;
            alone.extend(&done.alone);
            files.insert(path.clone(), done);
        }
        Ok(files)
    }

    fn scratch(&self, folder: &Path, files: &BTreeMap<String, Instrumented>) -> anyhow::Result<Scratch> {
        let mut changed: BTreeMap<String, String> =
            files.iter().map(|(path, file)| (path.clone(), file.text.clone())).collect();
        for crate_root in &self.plan.crate_roots {
            let text = match changed.remove(crate_root) {
                Some(text) => text,
                None => fs::read_to_string(self.root.join(crate_root))
                    .with_context(|| format!("cannot read {crate_root}"))?,
            };
            changed.insert(crate_root.clone(), text + schemata::MODULE);
        }
        Scratch::of(self.root, folder, &changed)
    }

    /// Takes out what the compiler rejects.
    fn reject(
        &self,
        places: &[(String, usize)],
        message: &str,
        files: &BTreeMap<String, Instrumented>,
        left_out: &mut BTreeSet<usize>,
        alone: &mut BTreeSet<usize>,
    ) -> anyhow::Result<()> {
        let before = (left_out.len(), alone.len());
        for (path, line) in places {
            let Some(file) = files.get(path) else { continue };
            if let Some((_, number)) = file.arms.iter().find(|(lines, _)| lines.contains(line)) {
                left_out.insert(*number);
                self.state.set(self.plan.mutants[*number].key, Fact::Unviable)?;
            }
        }
        if left_out.len() == before.0 {
            // The unchanged body does not compile beside its mutants.
            for (path, line) in places {
                let functions = files.get(path).into_iter().flat_map(|file| &file.functions);
                for (_, numbers) in functions.filter(|(lines, _)| lines.contains(line)) {
                    alone.extend(numbers);
                }
            }
        }
        if (left_out.len(), alone.len()) == before {
            bail!("the project with its mutants does not compile, because of none of them:\n{message}");
        }
        Ok(())
    }

    /// Finds the tests of the plan in the binaries.
    fn find(&self, binaries: Vec<Binary>) -> anyhow::Result<Tests> {
        let listed: Vec<Listed> = binaries.into_iter().map(Listed::of).collect::<anyhow::Result<_>>()?;
        let mut tests = Tests::new();
        for (number, test) in self.plan.tests.iter().enumerate() {
            for binary in &listed {
                let names = binary.tests(&test.target.test);
                if !names.is_empty() {
                    tests.insert(number, Found { binary: binary.binary.clone(), names, unbroken: None });
                    break;
                }
            }
        }
        Ok(tests)
    }

    /// Measures each test without a mutant, if a mutant is still to be tried with it.
    fn time(&self, tests: &mut Tests) -> anyhow::Result<()> {
        let mut needed = BTreeSet::new();
        for number in 1..self.plan.mutants.len() {
            for (subject, level) in self.open(number, tests) {
                needed.extend(subject.tests(level).iter().copied().filter(|test| tests.contains_key(test)));
            }
        }
        let needed: Vec<usize> = needed.into_iter().collect();
        let long = self.options.limit + Duration::from_secs(120);
        let found = &*tests;
        let times = self.in_parallel(&needed, |test| {
            if self.time_is_up() {
                return Ok((test, None));
            }
            let Found { binary, names, .. } = &found[&test];
            let (ended, time) = runner::run(binary, names, 0, long)?;
            if ended == Ended::Failed {
                self.fails(test);
            }
            Ok((test, (ended == Ended::Passed).then_some(time)))
        })?;
        for (test, time) in times {
            if let Some(found) = tests.get_mut(&test) {
                found.unbroken = time;
            }
        }
        Ok(())
    }

    /// Tries mutants of the shared build.
    fn try_all(&self, numbers: &[usize], tests: &Tests) -> anyhow::Result<()> {
        let mut open: Vec<usize> = numbers.iter().copied().filter(|number| self.is_open(*number, tests)).collect();
        // The quickest first, so that a run that is ended has tried as many as it can.
        open.sort_by_cached_key(|number| self.longest(*number, tests));
        let (began, done) = (Instant::now(), AtomicUsize::new(0));
        eprintln!("srs-report: {} of {} mutants are to be tried", open.len(), numbers.len());
        self.in_parallel(&open, |number| {
            self.try_one(number, number, tests)?;
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            if done.is_multiple_of(25) || done == open.len() {
                eprintln!("srs-report: {done} of {} mutants in {} s", open.len(), began.elapsed().as_secs());
            }
            Ok(())
        })?;
        Ok(())
    }

    /// The time of the tests of a mutant if none of them notices it.
    fn longest(&self, number: usize, tests: &Tests) -> Duration {
        let own = self.open(number, tests).into_iter().flat_map(|(subject, level)| subject.tests(level));
        own.filter_map(|test| tests.get(test)?.unbroken).sum()
    }

    /// Tries one mutant with the tests of all its requirements. `active` is the mutant's number in the binaries.
    fn try_one(&self, number: usize, active: usize, tests: &Tests) -> anyhow::Result<()> {
        for (subject, level) in self.open(number, tests) {
            let mut own: Vec<(Duration, usize)> =
                subject.tests(level).iter().filter_map(|test| Some((tests.get(test)?.unbroken?, *test))).collect();
            // The quickest first, because one failing test is enough.
            own.sort_unstable();
            for (unbroken, test) in own.into_iter().filter(|(_, test)| !self.is_failing(*test)) {
                let key = self.key(number, test);
                let fact = match self.state.get(key) {
                    Some(fact) => fact,
                    None if self.time_is_up() => return Ok(()),
                    None => {
                        let Found { binary, names, .. } = &tests[&test];
                        let limit = self.options.limit + 4 * unbroken;
                        let _alone = (unbroken > SLOW).then(|| self.slow[test].lock());
                        let (ended, _) = runner::run(binary, names, active, limit)?;
                        if ended == Ended::Failed && active != 0 && unbroken > SLOW {
                            // The load of the machine may have made the test fail. If the test also fails without the
                            // mutant, it is no evidence.
                            let (without, _) = runner::run(binary, names, 0, limit)?;
                            if without == Ended::Failed {
                                self.fails(test);
                                continue;
                            }
                        }
                        let fact = if ended == Ended::Passed { Fact::Missed } else { Fact::Noticed };
                        self.state.set(key, fact)?;
                        fact
                    }
                };
                if fact == Fact::Noticed {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Builds one mutant for itself and tries it.
    fn try_alone(
        &self,
        number: usize,
        scratch: &Scratch,
        files: &BTreeMap<String, Instrumented>,
        unbroken: &Tests,
    ) -> anyhow::Result<()> {
        let mutant = &self.plan.mutants[number];
        let module = if self.plan.crate_roots.contains(&mutant.file) { schemata::MODULE } else { "" };
        let text = schemata::apply(&self.plan.files[&mutant.file], &mutant.mutation);
        scratch.write(&mutant.file, &(text + module))?;
        match scratch.build(&self.plan.targets(Some(number)))? {
            Built::Errors(..) => self.state.set(mutant.key, Fact::Unviable)?,
            Built::Binaries(binaries) => {
                self.state.set(mutant.key, Fact::Viable)?;
                let mut tests = self.find(binaries)?;
                for (test, found) in &mut tests {
                    found.unbroken = unbroken.get(test).and_then(|found| found.unbroken);
                }
                self.try_one(number, 0, &tests)?;
            }
        }
        scratch.write(&mutant.file, &(files[&mutant.file].text.clone() + module))
    }

    /// The requirements and levels for which no test is known to notice the mutant and some test is still untried.
    fn open<'s>(&'s self, number: usize, tests: &Tests) -> Vec<(&'s Subject, Level)> {
        let mut open = Vec::new();
        for subject in &self.plan.subjects {
            let Some(tier) = subject.mutants.get(&number) else { continue };
            if *tier > Tier::Own && self.has(subject, Tier::Own) {
                continue;
            }
            for level in [Level::Unit, Level::Integration] {
                let there = || subject.tests(level).iter().filter(|test| tests.contains_key(test));
                let facts: Vec<Option<Fact>> = there().map(|test| self.state.get(self.key(number, *test))).collect();
                if !facts.contains(&Some(Fact::Noticed)) && facts.contains(&None) {
                    open.push((subject, level));
                }
            }
        }
        open
    }

    fn is_open(&self, number: usize, tests: &Tests) -> bool {
        !self.open(number, tests).is_empty()
    }

    /// Whether the requirement has a mutant of the tier that may compile.
    fn has(&self, subject: &Subject, tier: Tier) -> bool {
        let mut numbers = subject.mutants.iter().filter(|(_, of)| **of == tier).map(|(number, _)| number);
        numbers.any(|number| self.state.get(self.plan.mutants[*number].key) != Some(Fact::Unviable))
    }

    fn time_is_up(&self) -> bool {
        self.options.end.is_some_and(|end| Instant::now() >= end)
    }

    /// Notes that a test fails without a mutant, so that it is no evidence.
    fn fails(&self, test: usize) {
        eprintln!("srs-report: {} fails without a mutant", self.plan.tests[test].target.test);
        if let Ok(mut failing) = self.failing.lock() {
            failing.insert(test);
        }
    }

    fn is_failing(&self, test: usize) -> bool {
        self.failing.lock().is_ok_and(|failing| failing.contains(&test))
    }

    /// The hash of everything that the outcome of this test on this mutant depends on.
    fn key(&self, mutant: usize, test: usize) -> u64 {
        super::hash::of_parts(&[&self.plan.mutants[mutant].key.to_le_bytes(), &self.plan.tests[test].key.to_le_bytes()])
    }

    /// The proof of a requirement, and one line for each mutant that its tests do not notice.
    fn proof(&self, subject: &Subject, tests: &Tests) -> (Proof, String) {
        let mut missed = String::new();
        let mut proof = Proof::default();
        for level in [Level::Unit, Level::Integration] {
            let own = subject.tests(level);
            let absent = own.iter().filter(|test| !tests.contains_key(test));
            proof.absent.extend(absent.map(|test| self.plan.tests[*test].target.test.to_string()));
            if own.is_empty() {
                continue;
            }
            let of_tier = |tier| self.verdict(subject, own, tier, tests);
            let (verdict, lines) = if self.has(subject, Tier::Own) {
                of_tier(Tier::Own)
            } else {
                // What breaks the whole function breaks the part too. But a test of a refusal need not notice that.
                match (of_tier(Tier::Around), of_tier(Tier::LastResort)) {
                    (around @ (Verdict::Noticed | Verdict::NotTried, _), _) => around,
                    (_, (Verdict::Noticed, _)) => (Verdict::Reached, Vec::new()),
                    (_, (Verdict::Partly(..), lines)) => (Verdict::NotNoticed, lines),
                    (_, last_resort) => last_resort,
                }
            };
            missed.extend(lines.iter().map(|line| format!("{} {}: {line}\n", subject.id, level.name())));
            match level {
                Level::Unit => proof.unit = Some(verdict),
                Level::Integration => proof.integration = Some(verdict),
            }
        }
        (proof, missed)
    }

    /// The verdict of these tests on the requirement's mutants of one tier, and the names of those that they missed.
    fn verdict(&self, subject: &Subject, own: &BTreeSet<usize>, tier: Tier, tests: &Tests) -> (Verdict, Vec<&str>) {
        let (mut noticed, mut viable, mut untried, mut missed) = (0, 0, false, Vec::new());
        for number in subject.mutants.iter().filter(|(_, of)| **of == tier).map(|(number, _)| *number) {
            let mutant = &self.plan.mutants[number];
            match self.state.get(mutant.key) {
                Some(Fact::Unviable) => continue,
                None => untried = true,
                Some(_) => {}
            }
            viable += 1;
            let evidence = own.iter().filter(|test| tests.contains_key(test) && !self.is_failing(**test));
            let facts: Vec<Option<Fact>> = evidence.map(|test| self.state.get(self.key(number, *test))).collect();
            if facts.contains(&Some(Fact::Noticed)) {
                noticed += 1;
            } else if !facts.is_empty() && !facts.contains(&None) {
                missed.push(mutant.name.as_str());
            } else {
                untried = true;
            }
        }
        (if untried { Verdict::NotTried } else { Verdict::of(noticed, viable) }, missed)
    }

    /// Does the work for each number, several at a time and in no order.
    fn in_parallel<T: Send>(
        &self,
        numbers: &[usize],
        work: impl Fn(usize) -> anyhow::Result<T> + Sync,
    ) -> anyhow::Result<Vec<T>> {
        let next = AtomicUsize::new(0);
        let worker = || {
            let mut done = Vec::new();
            while let Some(number) = numbers.get(next.fetch_add(1, Ordering::Relaxed)) {
                done.push(work(*number)?);
            }
            anyhow::Ok(done)
        };
        let outcomes: Vec<_> = thread::scope(|scope| {
            let started: Vec<_> = (0..self.options.jobs.max(1)).map(|_| scope.spawn(worker)).collect();
            started.into_iter().map(thread::ScopedJoinHandle::join).collect()
        });
        let mut all = Vec::new();
        for outcome in outcomes {
            all.extend(outcome.map_err(|_| anyhow::anyhow!("a worker panicked"))??);
        }
        Ok(all)
    }
}
