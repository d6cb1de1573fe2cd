//! Nodes start, die, stop, and do what they are told.

use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;

use super::{Outcome, World};
use crate::machine::Node;

impl World {
    /// Indexes of all nodes that run.
    pub fn running(&self) -> Vec<usize> {
        self.machines.iter().filter(|machine| machine.runs()).map(|machine| machine.index).collect()
    }

    /// Starts a node and waits until it takes jobs.
    ///
    /// # Errors
    /// When it does not start.
    pub fn boot(&mut self, index: usize) -> Outcome {
        self.boot_all(&[index])
    }

    /// Starts nodes at the same time.
    ///
    /// # Errors
    /// When one does not start.
    pub fn boot_all(&mut self, which: &[usize]) -> Outcome {
        for index in which {
            let machine = self.machines[*index].clone();
            if self.registered.insert(*index) {
                let of = machine.clone();
                self.sim.host(machine.name.as_str(), move || {
                    let machine = of.clone();
                    async move { machine.run().await }
                });
            } else {
                self.sim.bounce(machine.name.as_str());
            }
        }
        let machines: Vec<_> = which.iter().map(|index| self.machines[*index].clone()).collect();
        self.wait("a node starts", || machines.iter().all(|machine| machine.runs()))
    }

    /// Cuts a node's power: what it had not written is lost, and nobody hears a word.
    pub fn crash(&mut self, index: usize) {
        let machine = self.machines[index].clone();
        self.trace.note(&machine.name, "crash");
        self.oracle.dies(index);
        machine.disk.crash();
        machine.clear();
        self.sim.crash(machine.name.as_str());
        self.oracle.died(index);
    }

    /// Stops a node as its operator would.
    ///
    /// # Errors
    /// When it does not end in time or leaves tasks behind.
    pub fn stop(&mut self, index: usize) -> Outcome {
        let machine = self.machines[index].clone();
        self.trace.note(&machine.name, "stop");
        let left = self.call(index, |node| async move {
            node.host.shutdown().await;
            node.host.tasks()
        })?;
        machine.let_go();
        if left > 0 {
            return Err(self.violation("nothing is leaked", format!("n{index} stopped with {left} tasks left")));
        }
        self.crash(index);
        Ok(())
    }

    /// Gives a node something to do; it does it with its next grain of time.
    pub fn post<F>(&self, index: usize, job: impl FnOnce(Rc<Node>) -> F + 'static)
    where
        F: Future<Output = ()> + 'static,
    {
        self.machines[index].post(Box::new(move |node| Box::pin(job(node))));
    }

    /// Has a node do something, and waits for what comes of it.
    ///
    /// # Errors
    /// When it takes longer than 10 s, or something breaks meanwhile.
    pub fn call<T, F>(&mut self, index: usize, job: impl FnOnce(Rc<Node>) -> F + 'static) -> Outcome<T>
    where
        T: 'static,
        F: Future<Output = T> + 'static,
    {
        let slot = Rc::new(RefCell::new(None));
        let into = slot.clone();
        self.post(index, move |node| async move {
            let value = job(node).await;
            into.borrow_mut().replace(value);
        });
        self.wait("a node does what it is told", || slot.borrow().is_some())?;
        let value = slot.borrow_mut().take();
        value.ok_or_else(|| self.violation("a node does what it is told", "it was killed"))
    }
}
