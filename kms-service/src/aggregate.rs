//! One message signed by many keys, and the signatures added up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kms_backend::LocalSigner;
use kms_keys::{Bls12381Signature, Signature, SigningScheme};
use kms_secrets::opening_time;

use crate::job::{Job, Ticket, caught};
use crate::{AggregateSignature, KmsError};

/// Signs one message with each of several keys, a few at a time.
pub(crate) struct Aggregate {
    ticket: Ticket<AggregateSignature>,
    signers: Vec<Arc<dyn LocalSigner>>,
    message: Vec<u8>,
    signatures: Vec<Bls12381Signature>,
    begun: bool,
    /// How long it has been worked on, and how much of that was spent on opening secrets.
    time: Duration,
    opening: Duration,
    /// What came of it, once all is done.
    outcome: Option<Result<AggregateSignature, KmsError>>,
}

impl Aggregate {
    pub(crate) fn boxed(
        ticket: Ticket<AggregateSignature>,
        signers: Vec<Arc<dyn LocalSigner>>,
        message: Vec<u8>,
    ) -> Box<dyn Job> {
        Box::new(Self {
            ticket,
            signatures: Vec::with_capacity(signers.len()),
            signers,
            message,
            begun: false,
            time: Duration::ZERO,
            opening: Duration::ZERO,
            outcome: None,
        })
    }

    /// Signs with the next `number` keys, and adds up after the last; `None` while there are others.
    fn step(
        &mut self,
        number: usize,
        stopped: &dyn Fn() -> bool,
    ) -> Result<Option<AggregateSignature>, KmsError> {
        for signer in self.signers.iter().skip(self.signatures.len()).take(number) {
            let at = self.signatures.len();
            self.ticket.interruption(at, stopped).map_or(Ok(()), Err)?;
            let signature = caught(&self.ticket.counters, || {
                signer.sign(SigningScheme::BlsPop, &self.message).map_err(KmsError::Backend)
            });
            match signature? {
                Signature::Bls12381(signature) => self.signatures.push(signature),
                _ => return Err(KmsError::Internal),
            }
        }
        if self.signatures.len() < self.signers.len() {
            return Ok(None);
        }
        // Here, on a thread of the service; the answer is given on the node's runtime.
        self.ticket.keys.put_in_order();
        let signature =
            Bls12381Signature::aggregate(&self.signatures).map_err(|_| KmsError::Internal)?;
        let public_keys = caught(&self.ticket.counters, || {
            Ok(self.signers.iter().map(|signer| signer.public_key().clone()).collect())
        })?;
        Ok(Some(AggregateSignature { signature: Signature::Bls12381(signature), public_keys }))
    }
}

impl Job for Aggregate {
    fn weight(&self) -> usize {
        match self.outcome {
            Some(_) => 0,
            None => self.signers.len() - self.signatures.len(),
        }
    }

    fn is_divisible(&self) -> bool {
        true
    }

    fn run(&mut self, number: usize, stopped: &dyn Fn() -> bool) {
        let span = self.ticket.span.clone();
        let _inside = span.enter();
        let (begun, opened) = (Instant::now(), opening_time());
        if !std::mem::replace(&mut self.begun, true)
            && let Err(void) = self.ticket.begin(begun)
        {
            tracing::debug!(reason = %void, "dropped before it was begun");
            self.outcome = Some(Err(void));
            return;
        }
        self.outcome = self.step(number, stopped).transpose();
        self.time += begun.elapsed();
        self.opening += opening_time() - opened;
        if self.outcome.is_some() {
            self.ticket.reply.done(self.time, self.opening);
        }
    }

    fn answer(self: Box<Self>) {
        self.ticket.answer(self.outcome.unwrap_or(Err(KmsError::AnswerLost)));
    }

    fn refuse(self: Box<Self>, error: KmsError) {
        self.ticket.refuse(error);
    }
}
