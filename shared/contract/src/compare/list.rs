//! A list that keeps some rules and breaks others.

use std::borrow::Cow;

use serde_json::Value;

use super::docs::{Demand, Node};
use super::formula::Items;
use super::rules::Rules;
use super::solve::{Goal, Outcome, Solver};

/// Items that a witness is given; a difference that only shows in a longer list is not looked for.
const ITEMS_MAX: u64 = 64;

/// What has to be seen somewhere in the list.
#[derive(Clone, Copy)]
enum Sight<'r, 's> {
    /// An item that these rules do not allow where it stands.
    Misfit(&'r Items<'s>),
    /// The same item twice.
    Twice,
}

/// Where each of them is to be seen.
#[derive(Clone, Default)]
struct Places<'s> {
    misfits: Vec<(usize, Node<'s>)>,
    twins: Vec<(usize, usize)>,
}

impl<'s> Solver<'_, 's> {
    /// A list, by choosing for everything that has to be seen where it is seen.
    pub(super) fn list(&mut self, goal: &Goal<'s>, rules: &Rules<'s>) -> Outcome {
        let sights: Vec<Sight<'_, 's>> =
            rules.broken_items.iter().map(Sight::Misfit).chain(rules.repeated.then_some(Sight::Twice)).collect();
        // Behind the last item with rules of its own all places are alike: one for each sight is enough.
        let own = rules.items.iter().chain(&rules.broken_items).map(|it| it.first.len()).max().unwrap_or(0);
        self.place(goal, rules, &sights, own, Places::default())
    }

    fn place(
        &mut self,
        goal: &Goal<'s>,
        rules: &Rules<'s>,
        sights: &[Sight<'_, 's>],
        own: usize,
        places: Places<'s>,
    ) -> Outcome {
        let taken = places.misfits.len();
        let Some((sight, rest)) = sights.split_first() else { return self.fill(goal, rules, &places) };
        let ways: Vec<Places<'s>> = match sight {
            Sight::Misfit(items) => (0..=own + taken)
                .filter(|index| *items.at(*index) != Node::Any)
                .map(|index| {
                    let mut places = places.clone();
                    places.misfits.push((index, items.at(index).clone()));
                    places
                })
                .collect(),
            Sight::Twice => {
                let end = own + taken + 2;
                let pairs = (0..end).flat_map(|a| (a + 1..end).map(move |b| (a, b)));
                pairs.map(|pair| Places { twins: vec![pair], ..places.clone() }).collect()
            }
        };
        self.first(ways, |solver, places| solver.place(goal, rules, rest, own, places))
    }

    /// The shortest list that shows everything; a longer one would only have to keep more rules.
    fn fill(&mut self, goal: &Goal<'s>, rules: &Rules<'s>, places: &Places<'s>) -> Outcome {
        let seen =
            places.misfits.iter().map(|(index, _)| index + 1).chain(places.twins.iter().map(|(_, b)| b + 1)).max();
        let len = rules.item_count.min.max(seen.unwrap_or(0) as u64);
        if len > rules.item_count.max {
            return Outcome::Impossible;
        }
        if len > ITEMS_MAX {
            return self.doubt("minItems");
        }
        // Where there has to be something special is the soonest to be impossible.
        let special = places.misfits.iter().map(|(index, _)| *index).chain(places.twins.iter().map(|(a, _)| *a));
        let mut order: Vec<usize> = special.collect();
        order.extend((0..len as usize).filter(|index| !order.contains(index)).collect::<Vec<_>>());
        let mut items = vec![None; len as usize];
        for index in order {
            match self.item(rules, places, index, &items) {
                Outcome::Found(value) => items[index] = Some(value),
                other => return other,
            }
        }
        let list = Value::Array(items.into_iter().map(Option::unwrap_or_default).collect());
        self.try_all(goal, [list], Some(rules.doubt.unwrap_or("items")))
    }

    /// The item for one place, with regard to those that are there already.
    fn item(&mut self, rules: &Rules<'s>, places: &Places<'s>, index: usize, there: &[Option<Value>]) -> Outcome {
        let other = |(a, b): &(usize, usize)| [(*a, *b), (*b, *a)].into_iter().find(|it| it.0 == index).map(|it| it.1);
        let twin = places.twins.iter().find_map(other);
        if let Some(Some(value)) = twin.and_then(|twin| there.get(twin)) {
            return Outcome::Found(value.clone());
        }
        let alike = |at: usize| at == index || Some(at) == twin;
        let mut demands = Vec::new();
        for at in [Some(index), twin].into_iter().flatten() {
            demands.extend(rules.items.iter().map(|items| Demand::new(items.at(at).clone(), true)));
        }
        let misfits = places.misfits.iter().filter(|(at, _)| alike(*at));
        demands.extend(misfits.map(|(_, node)| Demand::new(node.clone(), false)));
        let name = index.to_string();
        if !rules.unique {
            return self.solve_part(&name, demands);
        }
        let others = there.iter().flatten().map(|value| Demand::new(Node::Equal(Cow::Owned(value.clone())), false));
        let others: Vec<_> = others.collect();
        match self.solve_part(&name, demands.iter().cloned().chain(others.iter().cloned())) {
            Outcome::Impossible if !others.is_empty() => match self.solve_part(&name, demands) {
                Outcome::Impossible => Outcome::Impossible,
                // Other items before it might have left one for this place.
                _ => self.doubt("uniqueItems"),
            },
            outcome => outcome,
        }
    }
}
