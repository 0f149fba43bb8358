//! Binding: every name of the description becomes a place, and everything that cannot work is refused.

use std::sync::Arc;

use lunapark_models::{Accepts, Model};
use lunapark_schemas::{Datatype, Signature, TensorSpec};

use super::condition::{Condition, Operand, parse};
use super::file::{self, Description};
use super::values::{Source, goes_into};
use super::{Cascade, CascadeError, Part};

/// Name of the output that tells which step answered.
const STEP: &str = "step";

/// A step, ready to run.
pub(super) struct Step {
    pub(super) name: String,
    pub(super) model: Arc<dyn Model>,
    pub(super) when: Option<Condition<Source>>,
    /// For each of the model's inputs the sources that make it up.
    pub(super) inputs: Vec<Vec<Source>>,
    /// It answers every row that the cascade takes.
    always: bool,
}

/// An output: the first of its sources that has an answer.
pub(super) struct Output {
    pub(super) spec: TensorSpec,
    pub(super) sources: Vec<Source>,
}

/// What names can mean at some point of the description.
struct Scope<'a> {
    event: &'a [TensorSpec],
    steps: &'a [Step],
}

pub(super) fn bind(description: Description, parts: Vec<Part>, digest: String) -> Result<Cascade, CascadeError> {
    let event = match description.inputs.is_empty() {
        true => event_inputs(&description, &parts)?,
        false => description.inputs.clone(),
    };
    check_event(&event)?;
    let mut steps: Vec<Step> = Vec::new();
    for (text, part) in description.steps.iter().zip(parts) {
        let step = bind_step(text, part, &Scope { event: &event, steps: &steps });
        steps.push(step.map_err(|error| CascadeError(format!("step `{}`: {error}", text.name)))?);
    }
    let mut outputs = bind_outputs(&description, &Scope { event: &event, steps: &steps })?;
    let tells_step = steps.iter().any(|step| step.when.is_some());
    if tells_step {
        outputs.push(Output { spec: TensorSpec::new(STEP, Datatype::Bytes, 1), sources: Vec::new() });
    }
    check_names(&outputs)?;
    let elements = elements(&event, &steps);
    let accepts = elements.iter().flatten().copied().fold(ALL, both);
    let signature = Signature { inputs: event, outputs: outputs.iter().map(|output| output.spec.clone()).collect() };
    Ok(Cascade { signature: Arc::new(signature), accepts, elements, steps, outputs, tells_step, digest })
}

/// The inputs that the steps take and the description does not map. Of two of the same name the wider one counts, and
/// doubles before floats: the other step picks what it needs.
fn event_inputs(description: &Description, parts: &[Part]) -> Result<Vec<TensorSpec>, CascadeError> {
    let mut event: Vec<TensorSpec> = Vec::new();
    for (step, part) in description.steps.iter().zip(parts) {
        for spec in part.model.signature().inputs.iter().filter(|spec| !step.inputs.contains_key(&spec.name)) {
            match event.iter_mut().find(|known| known.name == spec.name) {
                None => event.push(spec.clone()),
                Some(known) if spec.width > known.width => *known = spec.clone(),
                Some(known) if spec.width == known.width => join(known, spec),
                Some(_) => {}
            }
        }
    }
    match event.is_empty() {
        false => Ok(event),
        true => {
            Err(CascadeError("no step takes anything of the event; leave an input unmapped, or add [[inputs]]".into()))
        }
    }
}

fn join(known: &mut TensorSpec, spec: &TensorSpec) {
    if known.fields.is_empty() {
        known.fields.clone_from(&spec.fields);
    }
    if (known.datatype, spec.datatype) == (Datatype::Fp32, Datatype::Fp64) {
        known.datatype = Datatype::Fp64;
    }
}

fn check_event(event: &[TensorSpec]) -> Result<(), CascadeError> {
    for (at, spec) in event.iter().enumerate() {
        let name = spec.name.escape_debug();
        let product = spec.dims().iter().try_fold(1_usize, |product, size| product.checked_mul(*size));
        let whole = spec.width > 0 && i32::try_from(spec.width).is_ok() && product == Some(spec.width);
        if !whole || (!spec.fields.is_empty() && spec.fields.len() != spec.width) {
            return Err(CascadeError(format!("input `{name}`: width, shape and fields do not agree; correct them")));
        }
        if event[..at].iter().any(|other| other.name == spec.name) || spec.datatype == Datatype::Bytes {
            return Err(CascadeError(format!("input `{name}` is there twice, or of text; correct [[inputs]]")));
        }
    }
    Ok(())
}

fn bind_step(text: &file::Step, part: Part, scope: &Scope<'_>) -> Result<Step, String> {
    let signature = part.model.signature().clone();
    if let Some(unknown) = text.inputs.keys().find(|name| !signature.inputs.iter().any(|spec| spec.name == **name)) {
        let known: Vec<_> = signature.inputs.iter().map(|spec| format!("`{}`", spec.name)).collect();
        return Err(format!("its model has no input `{}`; it has {}", unknown.escape_debug(), known.join(", ")));
    }
    let sources = |spec: &TensorSpec| match text.inputs.get(&spec.name) {
        Some(sources) => sources.all().iter().map(|name| scope.source(name)).collect::<Result<Vec<_>, _>>(),
        None => scope.unmapped(spec),
    };
    let inputs = signature.inputs.iter().map(sources).collect::<Result<Vec<_>, _>>()?;
    signature.inputs.iter().zip(&inputs).try_for_each(|(spec, sources)| scope.check_input(spec, sources))?;
    let when = text.when.as_deref().map(|when| scope.condition(when)).transpose()?;
    let accepts = part.model.accepts();
    let takes_all = accepts.missing && accepts.infinite;
    let certain = |source: &Source| source.step.is_none_or(|step| scope.steps[step].always && takes_all);
    let always = when.is_none() && inputs.iter().flatten().all(certain);
    Ok(Step { name: text.name.clone(), model: part.model, when, inputs, always })
}

impl Scope<'_> {
    fn tensor(&self, source: &Source) -> &TensorSpec {
        match source.step {
            None => &self.event[source.tensor],
            Some(step) => &self.steps[step].model.signature().outputs[source.tensor],
        }
    }

    /// `step.output`, an input or a field of the event; an element of it by `[number]`.
    fn source(&self, text: &str) -> Result<Source, String> {
        let shown = text.escape_debug();
        let (name, element) = match text.strip_suffix(']').and_then(|rest| rest.rsplit_once('[')) {
            Some((name, number)) => {
                (name, Some(number.parse().map_err(|_| format!("source `{shown}`: `[{number}]` is no number"))?))
            }
            None => (text, None),
        };
        let mut source = self.of_step(name)?.or_else(|| self.of_event(name)).ok_or_else(|| self.unknown(text))?;
        let width = self.tensor(&source).width;
        match (element, source.element) {
            (Some(element), None) if element < width => source.element = Some(element),
            (None, _) => {}
            _ => return Err(format!("source `{shown}`: `{name}` has no such element")),
        }
        Ok(source)
    }

    fn of_step(&self, name: &str) -> Result<Option<Source>, String> {
        let Some((step, output)) = name.split_once('.') else { return Ok(None) };
        let Some(number) = self.steps.iter().position(|known| known.name == step) else { return Ok(None) };
        let outputs = &self.steps[number].model.signature().outputs;
        let tensor = outputs.iter().position(|spec| spec.name == output).ok_or_else(|| {
            let known: Vec<_> = outputs.iter().map(|spec| format!("`{step}.{}`", spec.name)).collect();
            format!("step `{step}` has no output `{}`; it has {}", output.escape_debug(), known.join(", "))
        })?;
        Ok(Some(Source { step: Some(number), tensor, element: None }))
    }

    fn of_event(&self, name: &str) -> Option<Source> {
        let whole = self.event.iter().position(|spec| spec.name == name).map(Source::input);
        let field = |(tensor, spec): (usize, &TensorSpec)| {
            let element = spec.fields.iter().position(|field| field == name)?;
            Some(Source { step: None, tensor, element: Some(element) })
        };
        whole.or_else(|| self.event.iter().enumerate().find_map(field))
    }

    fn unknown(&self, name: &str) -> String {
        let inputs = self.event.iter().map(|spec| format!("`{}`", spec.name));
        let steps = self.steps.iter().map(|step| format!("`{}.…`", step.name));
        let known: Vec<_> = inputs.chain(steps).collect();
        format!("no source `{}`; there are the fields of the event, and {}", name.escape_debug(), known.join(", "))
    }

    /// The event's input of that name and width, or its fields of these names.
    fn unmapped(&self, spec: &TensorSpec) -> Result<Vec<Source>, String> {
        let alike = |known: &TensorSpec| {
            let fields = known.fields.is_empty() || spec.fields.is_empty() || known.fields == spec.fields;
            known.name == spec.name && known.width == spec.width && fields
        };
        if let Some(tensor) = self.event.iter().position(alike) {
            return Ok(vec![Source::input(tensor)]);
        }
        let fields: Option<Vec<_>> = spec.fields.iter().map(|field| self.of_event(field)).collect();
        fields.filter(|fields| !fields.is_empty()).ok_or_else(|| {
            let (name, width) = (&spec.name, spec.width);
            format!("the event has no input `{name}` of {width} values, nor its fields; map it in `inputs`")
        })
    }

    fn check_input(&self, spec: &TensorSpec, sources: &[Source]) -> Result<(), String> {
        let width: usize = sources.iter().map(|source| self.width(source)).sum();
        if width != spec.width {
            return Err(format!("its input `{}` takes {} values, its sources give {width}", spec.name, spec.width));
        }
        match sources.iter().map(|source| self.tensor(source)).find(|from| !goes_into(from.datatype, spec.datatype)) {
            None => Ok(()),
            Some(from) => {
                let (has, takes) = (from.datatype.as_str(), spec.datatype.as_str());
                Err(format!("its input `{}` takes {takes}, `{}` is {has}", spec.name, from.name))
            }
        }
    }

    fn width(&self, source: &Source) -> usize {
        source.element.map_or(self.tensor(source).width, |_| 1)
    }

    fn condition(&self, text: &str) -> Result<Condition<Source>, String> {
        let wrong = |error: String| format!("when = \"{}\": {error}", text.escape_debug());
        let condition = parse(text).map_err(wrong)?.map(&mut |name: String| self.source(&name)).map_err(wrong)?;
        for (left, _, right) in condition.comparisons() {
            match (self.is_text(left)?, self.is_text(right)?) {
                (left, right) if left == right => {}
                _ => return Err(wrong("it compares a number with a text".to_owned())),
            }
        }
        Ok(condition)
    }

    fn is_text(&self, operand: &Operand<Source>) -> Result<bool, String> {
        match operand {
            Operand::Text(_) => Ok(true),
            Operand::Whole(_) | Operand::Number(_) => Ok(false),
            Operand::Source(source) => match (self.width(source), self.tensor(source)) {
                (1, spec) => Ok(spec.datatype == Datatype::Bytes),
                (width, spec) => {
                    let name = &spec.name;
                    Err(format!("`{name}` has {width} values; compare one of them, as in `{name}[0]`"))
                }
            },
        }
    }
}

fn bind_outputs(description: &Description, scope: &Scope<'_>) -> Result<Vec<Output>, CascadeError> {
    let output = |text: &file::Output| {
        bind_output(text, scope)
            .map_err(|error| CascadeError(format!("output `{}`: {error}", text.name.escape_debug())))
    };
    description.outputs.iter().map(output).collect()
}

fn bind_output(text: &file::Output, scope: &Scope<'_>) -> Result<Output, String> {
    let sources = text.from.all().iter().map(|name| scope.source(name)).collect::<Result<Vec<_>, _>>()?;
    let specs: Vec<_> = sources.iter().map(|source| source.spec(scope.tensor(source), &text.name)).collect();
    let Some(spec) = specs.first().cloned() else { return Err("`from` is empty; name a source".to_owned()) };
    if let Some(other) = specs.iter().find(|other| (other.datatype, other.width) != (spec.datatype, spec.width)) {
        let told = |spec: &TensorSpec| format!("{} values of {}", spec.width, spec.datatype.as_str());
        return Err(format!("its sources differ: {} and {}; choose sources alike", told(&spec), told(other)));
    }
    let certain = |source: &Source| source.step.is_none_or(|step| scope.steps[step].always);
    let float = matches!(spec.datatype, Datatype::Fp32 | Datatype::Fp64);
    if !float && !sources.iter().any(certain) {
        let datatype = spec.datatype.as_str();
        return Err(format!(
            "{datatype} has no missing value; add a source that always answers, a step without `when`"
        ));
    }
    Ok(Output { spec, sources })
}

fn check_names(outputs: &[Output]) -> Result<(), CascadeError> {
    for (at, output) in outputs.iter().enumerate() {
        let name = &output.spec.name;
        if name.is_empty() || outputs[..at].iter().any(|other| other.spec.name == *name) {
            let shown = name.escape_debug();
            let text = format!("output `{shown}` is there twice or has no name; `{STEP}` tells which step answered");
            return Err(CascadeError(text));
        }
    }
    Ok(())
}

const ALL: Accepts = Accepts { missing: true, infinite: true };

fn both(one: Accepts, other: Accepts) -> Accepts {
    Accepts { missing: one.missing && other.missing, infinite: one.infinite && other.infinite }
}

/// What each element of the event may be: of the steps, those that read it have a say.
fn elements(event: &[TensorSpec], steps: &[Step]) -> Vec<Vec<Accepts>> {
    let mut elements: Vec<_> = event.iter().map(|spec| vec![ALL; spec.width]).collect();
    for step in steps {
        let accepts = step.model.accepts();
        for source in step.inputs.iter().flatten().filter(|source| source.step.is_none()) {
            let read = match source.element {
                Some(element) => &mut elements[source.tensor][element..=element],
                None => &mut elements[source.tensor][..],
            };
            read.iter_mut().for_each(|element| *element = both(*element, accepts));
        }
    }
    elements
}
