//! From what the store holds to what the plan looks at.

use crate::error::Chain;
use crate::model::{Failure, Spec, Trouble};
use crate::plan::{self, Observation, PendingIssuance, Wish};
use crate::store::{Holding, StoreError};

use super::execute::Activity;

/// What the plan needs to know of a holding.
pub(super) fn observation(holding: &Result<Holding, StoreError>) -> Observation {
    match holding {
        Ok(holding) => held(holding),
        Err(error) => {
            Observation { blocked: Some(Chain(error).to_string()), ..Observation::default() }
        }
    }
}

fn held(holding: &Holding) -> Observation {
    let record = &holding.record;
    let pending = holding
        .intent
        .as_ref()
        .map(|intent| PendingIssuance { wanted: intent.wanted, has_order: intent.order.is_some() });
    Observation {
        newest: holding.newest.clone(),
        live: holding.live,
        generations: holding.generations.clone(),
        pending,
        presented: holding.intent.as_ref().map_or(0, |intent| intent.presented.len()),
        deployed: record.deployed,
        issue_trouble: record.issue_trouble.clone(),
        deploy_trouble: record.deploy_trouble.clone(),
        housekeeping_trouble: None,
        wish: record.wish,
        busy: false,
        blocked: None,
    }
}

/// Adds failures that the store could not take to what was observed: a full disk must not make
/// the program forget that it has just failed.
pub(super) fn overlay(seen: &mut Observation, spec: &Spec, unrecorded: &[(Activity, Failure)]) {
    for (activity, failure) in unrecorded {
        let (trouble, wanted) = match activity {
            Activity::Issue => {
                if seen.wish == Wish::Renew {
                    seen.wish = Wish::RenewTried;
                }
                (&mut seen.issue_trouble, spec.issuance_digest())
            }
            Activity::Deploy => {
                let Some(newest) = &seen.newest else { continue };
                let wanted = plan::deployment_wish(newest.id, spec.deployment);
                (&mut seen.deploy_trouble, wanted)
            }
            Activity::Housekeeping => (&mut seen.housekeeping_trouble, spec.issuance_digest()),
        };
        *trouble = Some(Trouble::extend(trouble.as_ref(), failure.clone(), wanted));
    }
}
