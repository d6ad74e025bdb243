//! What an expression refers to, checked and rewritten so that evaluating it binds nothing else.
//!
//! Every longest static path (`steps.score.output.risk`) becomes a slot: a variable with a name that no source can
//! spell. The evaluator looks the path up in the JSON and converts only what it finds there.
//!
//! ```text
//!   steps.score.output.risk > 0.5 && has(input.x)      →      @0 > 0.5 && @1
//!                                                             @0 = value of steps.score.output.risk, @1 = is there input.x
//! ```

use cel::IdedExpr;
use cel::common::ast::{CallExpr, EntryExpr, Expr, ListExpr, LiteralValue, operators};
use kapelle_types::StepId;
use kapelle_types::limits::EXPRESSION_NESTING_MAX;

use crate::{Error, ErrorKind, Reference, Root, Segment, functions, nearest, scan, syntax};

/// A checked expression.
#[derive(Debug)]
pub(crate) struct Analysis {
    /// The tree, its references replaced by slots.
    pub(crate) tree: IdedExpr,
    /// What each slot is bound to.
    pub(crate) slots: Vec<Slot>,
    /// What the expression refers to, each once, in the order of the source.
    pub(crate) references: Vec<Reference>,
    /// Whether it walks a list or builds a value: only then can it cost more than its source is long.
    pub(crate) grows: bool,
}

/// What a slot is bound to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Slot {
    /// The value of a reference.
    Value(Reference),
    /// What a comprehension walks: the items of a list, or the keys of an object, sorted. (CEL's own order of keys is
    /// that of a hash map, another in each process.)
    Items(Reference),
    /// Whether an object has a field. `null` has none: the output of a skipped step can be asked.
    Has(Reference, String),
    /// Whether a step has an output, or outputs: whether the reference has a value, null or not.
    There(Reference),
}

impl Slot {
    /// What it looks at.
    pub(crate) const fn reference(&self) -> &Reference {
        let (Self::Value(reference) | Self::Items(reference) | Self::Has(reference, _) | Self::There(reference)) = self;
        reference
    }
}

/// The variable of a slot. `@` cannot be written in a source.
pub(crate) fn slot_name(index: usize) -> String {
    format!("@{index}")
}

/// The slot that a variable stands for.
pub(crate) fn slot_index(name: &str) -> Option<usize> {
    name.strip_prefix('@')?.parse().ok()
}

/// Checks and rewrites the tree of `source`.
pub(crate) fn analyse(source: &str, mut tree: IdedExpr) -> Result<Analysis, Error> {
    let knows_types = calls(&tree, "type");
    let mut rewriter =
        Rewriter { source, knows_types, locals: vec![], slots: vec![], references: vec![], grows: false };
    rewriter.rewrite(&mut tree)?;
    let Rewriter { slots, references, grows, .. } = rewriter;
    Ok(Analysis { tree, slots, references, grows })
}

/// The reference that a whole expression is, if it is nothing but a path.
pub(crate) fn path(source: &str, tree: &IdedExpr) -> Result<Option<Reference>, Error> {
    match chain(&tree.expr, &[]) {
        Some((name, path)) if ROOTS.contains(&name) => resolve(source, name, path).map(Some),
        _ => Ok(None),
    }
}

const ROOTS: &[&str] = &["input", "steps", "item", "index", "run", "output", "last", "round"];
const TYPES: &[&str] = &["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"];

struct Rewriter<'s> {
    source: &'s str,
    knows_types: bool,
    /// The variables of the comprehensions around the current node; two a comprehension.
    locals: Vec<String>,
    slots: Vec<Slot>,
    references: Vec<Reference>,
    grows: bool,
}

impl Rewriter<'_> {
    fn rewrite(&mut self, node: &mut IdedExpr) -> Result<(), Error> {
        if let Some((name, path)) = chain(&node.expr, &self.locals) {
            if self.knows_types && path.is_empty() && TYPES.contains(&name) {
                return Ok(());
            }
            let reference = resolve(self.source, name, path)?;
            let is_time = reference.root == Root::RunStartedAt;
            node.expr = self.slot(Slot::Value(reference));
            if is_time {
                let call = CallExpr { func_name: "timestamp".to_owned(), target: None, args: vec![node.clone()] };
                node.expr = Expr::Call(call);
            }
            return Ok(());
        }
        match &mut node.expr {
            // A variable of a comprehension: any other name is a chain.
            Expr::Ident(_) | Expr::Literal(_) => Ok(()),
            Expr::Unspecified => Err(Error::new(ErrorKind::Syntax, self.source, "this is not an expression")),
            Expr::Select(select) if select.test => {
                if let Some((name, path)) = chain(&select.operand.expr, &self.locals) {
                    if let Some(reference) = result(name, &path, &select.field) {
                        node.expr = self.slot(Slot::There(reference));
                        return Ok(());
                    }
                    let parent = resolve(self.source, name, path)?;
                    let slot = Slot::Has(parent, select.field.clone());
                    node.expr = self.slot(slot);
                    return Ok(());
                }
                self.rewrite(&mut select.operand)
            }
            Expr::Select(select) => self.rewrite(&mut select.operand),
            Expr::Call(call) => {
                functions::check(self.source, call, !self.locals.is_empty())?;
                self.grows |= call.func_name == operators::ADD;
                call.target.iter_mut().map(|t| &mut **t).chain(&mut call.args).try_for_each(|part| self.rewrite(part))
            }
            Expr::List(list) => {
                self.grows = true;
                list.elements.iter_mut().try_for_each(|element| self.rewrite(element))
            }
            Expr::Map(map) => {
                self.grows = true;
                map.entries.iter_mut().try_for_each(|entry| self.entry(&mut entry.expr))
            }
            Expr::Struct(message) => {
                let text =
                    format!("there is no message type `{}`; write a map: `{{'name': value}}`", message.type_name);
                Err(Error::new(ErrorKind::Reference, self.source, text))
            }
            Expr::Comprehension(_) => self.comprehension(node),
        }
    }

    fn entry(&mut self, entry: &mut EntryExpr) -> Result<(), Error> {
        match entry {
            EntryExpr::StructField(field) => self.rewrite(&mut field.value),
            EntryExpr::MapEntry(entry) => {
                self.rewrite(&mut entry.key)?;
                self.rewrite(&mut entry.value)
            }
        }
    }

    fn comprehension(&mut self, node: &mut IdedExpr) -> Result<(), Error> {
        let Expr::Comprehension(it) = &mut node.expr else { return Ok(()) };
        self.grows = true;
        if self.locals.len() / 2 >= EXPRESSION_NESTING_MAX as usize {
            let message = "a comprehension (`map`, `filter`, `all` …) inside another would take too long; compute the inner \
                           one in a step of its own";
            return Err(Error::new(ErrorKind::Bound, self.source, message));
        }
        if let Some((name, path)) = chain(&it.iter_range.expr, &self.locals) {
            let reference = resolve(self.source, name, path)?;
            it.iter_range.expr = self.slot(Slot::Items(reference));
        } else {
            let is_list = matches!(it.iter_range.expr, Expr::List(_) | Expr::Comprehension(_));
            self.rewrite(&mut it.iter_range)?;
            if !is_list {
                // Only lists can be added to, and only lists have an order: a map ends here as an error.
                let id = it.iter_range.id;
                let range = std::mem::take(&mut it.iter_range);
                let empty = IdedExpr { id, expr: Expr::List(ListExpr::new(vec![])) };
                let call = CallExpr { func_name: operators::ADD.to_owned(), target: None, args: vec![range, empty] };
                it.iter_range = IdedExpr { id, expr: Expr::Call(call) };
            }
        }
        self.locals.extend([it.iter_var.clone(), it.accu_var.clone()]);
        let body = [&mut it.accu_init, &mut it.loop_cond, &mut it.loop_step, &mut it.result];
        body.into_iter().try_for_each(|part| self.rewrite(part))?;
        self.locals.truncate(self.locals.len() - 2);
        Ok(())
    }

    fn slot(&mut self, slot: Slot) -> Expr {
        let reference = slot.reference();
        if !self.references.contains(reference) {
            self.references.push(reference.clone());
        }
        let index = self.slots.iter().position(|known| *known == slot).unwrap_or(self.slots.len());
        if index == self.slots.len() {
            self.slots.push(slot);
        }
        Expr::Ident(slot_name(index))
    }
}

/// The name and the static path of `name.field["field"][3]`, unless the name is a variable of a comprehension.
fn chain<'e>(expr: &'e Expr, locals: &[String]) -> Option<(&'e str, Vec<Segment>)> {
    match expr {
        Expr::Ident(name) => (!locals.contains(name)).then(|| (name.as_str(), vec![])),
        Expr::Select(select) if !select.test => {
            let (name, mut path) = chain(&select.operand.expr, locals)?;
            path.push(Segment::Field(select.field.clone()));
            Some((name, path))
        }
        Expr::Call(call) if call.func_name == operators::INDEX && call.args.len() == 2 => {
            let segment = match &call.args[1].expr {
                Expr::Literal(LiteralValue::String(field)) => Segment::Field(field.inner().to_owned()),
                Expr::Literal(LiteralValue::Int(index)) => Segment::Index(usize::try_from(*index.inner()).ok()?),
                Expr::Literal(LiteralValue::UInt(index)) => Segment::Index(usize::try_from(*index.inner()).ok()?),
                _ => return None,
            };
            let (name, mut path) = chain(&call.args[0].expr, locals)?;
            path.push(segment);
            Some((name, path))
        }
        _ => None,
    }
}

/// The result of a step that `has(steps.<id>.output)` asks for; its status is always there.
fn result(name: &str, path: &[Segment], field: &str) -> Option<Reference> {
    let ("steps", [Segment::Field(step)]) = (name, path) else { return None };
    let id = step.parse().ok()?;
    let root = match field {
        "output" => Root::Output(id),
        "outputs" => Root::Outputs(id),
        _ => return None,
    };
    Some(Reference { root, path: vec![] })
}

/// The reference that a static path is, or why it is none.
fn resolve(source: &str, name: &str, path: Vec<Segment>) -> Result<Reference, Error> {
    let fields: Vec<&str> = path
        .iter()
        .map_while(|segment| match segment {
            Segment::Field(field) => Some(field.as_str()),
            Segment::Index(_) => None,
        })
        .collect();
    let fail = |words: &[&str], message: String| {
        Err(Error::new(ErrorKind::Reference, source, message).at(scan::find(source, words)))
    };
    let below = |root: Root, from: usize| Ok(Reference { root, path: path[from..].to_vec() });
    match (name, fields.as_slice()) {
        ("input", _) => below(Root::Input, 0),
        ("item", _) => below(Root::Item, 0),
        ("index", []) if path.is_empty() => below(Root::Index, 0),
        ("index", _) => fail(&["index"], "`index` is a number and has no fields".to_owned()),
        ("output", _) => below(Root::Given, 0),
        ("last", _) => below(Root::Last, 0),
        ("round", []) if path.is_empty() => below(Root::Round, 0),
        ("round", _) => fail(&["round"], "`round` is a number and has no fields".to_owned()),
        ("run", ["id"]) if path.len() == 1 => below(Root::RunId, 1),
        ("run", ["started_at"]) if path.len() == 1 => below(Root::RunStartedAt, 1),
        ("run", ["error", "code"]) if path.len() == 2 => below(Root::RunErrorCode, 2),
        ("run", ["error", "message"]) if path.len() == 2 => below(Root::RunErrorMessage, 2),
        ("run", ["error", ..]) => fail(
            &["run", "error"],
            "write what of the error is meant: `run.error.code` or `run.error.message`".to_owned(),
        ),
        ("run", ["id" | "started_at", ..]) => fail(&["run"], format!("`run.{}` has no fields", fields[0])),
        ("run", [field, ..]) => {
            fail(&["run", field], unknown(&format!("run.{field}"), field, "run.", &["id", "started_at", "error"]))
        }
        ("run", []) => fail(&["run"], "`run` has three fields: `run.id`, `run.started_at` and `run.error`".to_owned()),
        ("steps", [step, result, ..]) => {
            let Ok(id) = step.parse::<StepId>() else {
                return fail(&["steps", step], format!("`{step}` cannot be the id of a step: {STEP_RULE}"));
            };
            match *result {
                "output" => below(Root::Output(id), 2),
                "outputs" => below(Root::Outputs(id), 2),
                "status" if path.len() == 2 => below(Root::Status(id), 2),
                "status" => fail(&["steps", step], format!("`steps.{step}.status` is a string and has no fields")),
                _ => {
                    let name = format!("steps.{step}.{result}");
                    let message = unknown(&name, result, &format!("steps.{step}."), &["output", "outputs", "status"]);
                    fail(&["steps", step, result], message)
                }
            }
        }
        ("steps", [step]) => {
            let message = format!("write what of the step is meant: `steps.{step}.output`, `.outputs` or `.status`");
            fail(&["steps", step], message)
        }
        ("steps", []) => {
            let message = "`steps` cannot be used as a value; name the step: `steps.<id>.output`".to_owned();
            fail(&["steps"], message)
        }
        _ => fail(&[name], unknown(name, name, "", ROOTS)),
    }
}

const STEP_RULE: &str = "it starts with a lower-case letter and goes on with lower-case letters, digits and `_`";

fn unknown(name: &str, typo: &str, prefix: &str, known: &[&str]) -> String {
    let list = || known.iter().map(|it| format!("`{prefix}{it}`")).collect::<Vec<_>>().join(", ");
    match nearest(typo, known.iter().copied()) {
        Some(it) => format!("there is no `{name}`; did you mean `{prefix}{it}`?"),
        None => format!("there is no `{name}`; there are {}", list()),
    }
}

/// Whether the tree calls a function.
fn calls(tree: &IdedExpr, function: &str) -> bool {
    let mut found = matches!(&tree.expr, Expr::Call(call) if call.func_name == function);
    syntax::children(&tree.expr, |child| found = found || calls(child, function));
    found
}
