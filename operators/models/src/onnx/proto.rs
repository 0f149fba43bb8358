//! The messages of an ONNX file that scoring needs, borrowed from its bytes.
//!
//! Field numbers are those of `onnx.proto` (github.com/onnx/onnx).

use super::tensor::Tensor;
use super::wire::{Fields, Value};
use crate::ModelError;

/// More nodes than any model that scores events has; bounds what a small file can ask for.
const MAX_NODES: usize = 1 << 16;

/// Bytes of all weights in memory: more than a protobuf file holds.
const MAX_BYTES: usize = 1 << 31;
/// The same of any file, however small: many nodes may share one tensor (an unrolled layer's), and each has its own copy.
const FREE_BYTES: usize = 1 << 28;
/// The same for each byte of the file. Without a bound by the file's size, 500 nodes that share 4 MiB would take 2 GiB.
const BYTES_PER_BYTE: usize = 64;

/// What to do with a file that is no single self-contained graph.
pub(super) const SELF_CONTAINED: &str = "save the model as one self-contained file (`onnx.save_model(model, path, save_as_external_data=False)`, \
     and `onnx.inliner.inline_local_functions` for functions)";

#[derive(Debug, Default)]
pub(super) struct Model<'a> {
    /// Bytes of the file.
    pub size: usize,
    pub ir_version: i64,
    pub producer: &'a str,
    /// Domain and version; the domain of the standard operators is empty.
    pub opsets: Vec<(&'a str, i64)>,
    pub graph: Graph<'a>,
}

#[derive(Debug, Default)]
pub(super) struct Graph<'a> {
    pub nodes: Vec<Node<'a>>,
    pub initializers: Vec<(&'a str, Tensor)>,
    pub inputs: Vec<ValueInfo<'a>>,
    pub outputs: Vec<ValueInfo<'a>>,
}

#[derive(Debug, Default)]
pub(super) struct Node<'a> {
    pub inputs: Vec<&'a str>,
    pub outputs: Vec<&'a str>,
    pub name: &'a str,
    pub op: &'a str,
    /// Empty for the standard operators (`ai.onnx` in the file is the same).
    pub domain: &'a str,
    pub attributes: Vec<(&'a str, Attribute<'a>)>,
}

/// The value of an attribute, of the one field that its type names.
#[derive(Debug)]
pub(super) enum Attribute<'a> {
    Float(f32),
    Int(i64),
    Text(&'a [u8]),
    Tensor(Tensor),
    Floats(Vec<f32>),
    Ints(Vec<i64>),
    Texts(Vec<&'a [u8]>),
    /// A subgraph, sparse tensor or type: nothing that is run here.
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dim<'a> {
    Fixed(i64),
    Named(&'a str),
    Unknown,
}

/// Name and type of a graph's input or output.
#[derive(Debug, Default)]
pub(super) struct ValueInfo<'a> {
    pub name: &'a str,
    /// ONNX's element type; 0 where the value is no tensor.
    pub element: i64,
    /// None where the file gives no shape.
    pub dims: Option<Vec<Dim<'a>>>,
    /// A sequence of maps, as `ZipMap` gives.
    pub is_sequence: bool,
}

impl<'a> Model<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, ModelError> {
        let mut model = Model { size: bytes.len(), ..Model::default() };
        let mut has_graph = false;
        let mut fields = Fields::new(bytes);
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => model.ir_version = value.int("ir_version")?,
                2 => model.producer = value.text("producer_name")?,
                7 if has_graph => return Err(ModelError::unreadable("the ONNX file has two graphs")),
                7 => (model.graph, has_graph) = (Graph::read(value.bytes("graph")?)?, true),
                8 => model.opsets.push(opset(value.bytes("opset_import")?)?),
                25 => return Err(ModelError::unsupported("the file has model-local functions", SELF_CONTAINED)),
                _ => {}
            }
        }
        if has_graph { Ok(model) } else { Err(ModelError::truncated("the ONNX file has no graph")) }
    }

    /// What the weights and constants of this file may take.
    pub(super) fn max_bytes(&self) -> usize {
        self.size.saturating_mul(BYTES_PER_BYTE).saturating_add(FREE_BYTES).min(MAX_BYTES)
    }

    /// Refuses more, which `node` asked for.
    pub(super) fn check_bytes(&self, node: &Node<'_>, bytes: usize) -> Result<(), ModelError> {
        let (max, size) = (self.max_bytes(), self.size);
        if bytes > max {
            let what = format!("the weights have more than {max} bytes by now, which a file of {size} bytes may have");
            return Err(node.unsupported(what));
        }
        Ok(())
    }

    /// Version of a domain's operators; "" is the standard one.
    pub(super) fn opset(&self, domain: &str) -> Option<i64> {
        let versions = self.opsets.iter().filter(|(name, _)| *name == domain).map(|(_, version)| *version);
        versions.max()
    }
}

/// `ai.onnx` is an alias of the empty domain.
fn standard(domain: &str) -> &str {
    if domain == "ai.onnx" { "" } else { domain }
}

fn opset(bytes: &[u8]) -> Result<(&str, i64), ModelError> {
    let mut opset = ("", 0);
    let mut fields = Fields::new(bytes);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => opset.0 = standard(value.text("domain")?),
            2 => opset.1 = value.int("version")?,
            _ => {}
        }
    }
    Ok(opset)
}

impl<'a> Graph<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, ModelError> {
        let mut graph = Graph::default();
        let mut fields = Fields::new(bytes);
        while let Some((number, value)) = fields.next()? {
            match number {
                1 if graph.nodes.len() == MAX_NODES => {
                    let what = format!("the graph has more than {MAX_NODES} nodes");
                    return Err(ModelError::unsupported(what, "simplify the graph before saving it"));
                }
                1 => graph.nodes.push(Node::read(value.bytes("node")?)?),
                5 => graph.initializers.push(Tensor::read(value.bytes("initializer")?)?),
                11 => graph.inputs.push(ValueInfo::read(value.bytes("input")?)?),
                12 => graph.outputs.push(ValueInfo::read(value.bytes("output")?)?),
                15 => return Err(ModelError::unsupported("the graph has sparse initializers", "save them dense")),
                _ => {}
            }
        }
        Ok(graph)
    }
}

impl<'a> Node<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, ModelError> {
        let mut node = Node::default();
        let mut fields = Fields::new(bytes);
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => node.inputs.push(value.text("node.input")?),
                2 => node.outputs.push(value.text("node.output")?),
                3 => node.name = value.text("node.name")?,
                4 => node.op = value.text("node.op_type")?,
                5 => node.attributes.push(attribute(value.bytes("attribute")?)?),
                7 => node.domain = standard(value.text("node.domain")?),
                _ => {}
            }
        }
        Ok(node)
    }
}

/// The fields of an attribute before its type chooses one.
#[derive(Default)]
struct RawAttribute<'a> {
    kind: i64,
    float: f32,
    int: i64,
    text: &'a [u8],
    tensor: Option<Tensor>,
    floats: Vec<f32>,
    ints: Vec<i64>,
    texts: Vec<&'a [u8]>,
}

fn attribute(bytes: &[u8]) -> Result<(&str, Attribute<'_>), ModelError> {
    let (mut name, mut raw) = ("", RawAttribute::default());
    let mut fields = Fields::new(bytes);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => name = value.text("attribute.name")?,
            2 => raw.float = value.float("attribute.f")?,
            3 => raw.int = value.int("attribute.i")?,
            4 => raw.text = value.bytes("attribute.s")?,
            5 => once(&mut raw.tensor, Tensor::read(value.bytes("attribute.t")?)?.1, "attribute.t")?,
            7 => value.push_floats("attribute.floats", &mut raw.floats)?,
            8 => value.push_ints("attribute.ints", &mut raw.ints)?,
            9 => raw.texts.push(value.bytes("attribute.strings")?),
            20 => raw.kind = value.int("attribute.type")?,
            21 => return Err(ModelError::unsupported("an attribute refers to a function's", SELF_CONTAINED)),
            _ => {}
        }
    }
    Ok((name, choose(raw)))
}

/// A message that stands twice would be merged by other readers of the same file, and ours must see what they see.
fn once<T>(place: &mut Option<T>, value: T, field: &str) -> Result<(), ModelError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(ModelError::unreadable(format!("{field} stands twice"))),
    }
}

fn choose(raw: RawAttribute<'_>) -> Attribute<'_> {
    match (raw.kind, raw.tensor) {
        (1, _) => Attribute::Float(raw.float),
        (2, _) => Attribute::Int(raw.int),
        (3, _) => Attribute::Text(raw.text),
        (4, Some(tensor)) => Attribute::Tensor(tensor),
        (6, _) => Attribute::Floats(raw.floats),
        (7, _) => Attribute::Ints(raw.ints),
        (8, _) => Attribute::Texts(raw.texts),
        _ => Attribute::Other,
    }
}

impl<'a> ValueInfo<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, ModelError> {
        let mut info = ValueInfo::default();
        let mut fields = Fields::new(bytes);
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => info.name = value.text("value.name")?,
                2 => info.read_type(value.bytes("value.type")?)?,
                _ => {}
            }
        }
        Ok(info)
    }

    fn read_type(&mut self, bytes: &'a [u8]) -> Result<(), ModelError> {
        let mut fields = Fields::new(bytes);
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => self.read_tensor_type(value.bytes("type.tensor_type")?)?,
                4 => self.is_sequence = true,
                _ => {}
            }
        }
        Ok(())
    }

    fn read_tensor_type(&mut self, bytes: &'a [u8]) -> Result<(), ModelError> {
        let mut fields = Fields::new(bytes);
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => self.element = value.int("tensor_type.elem_type")?,
                2 => once(&mut self.dims, dims(value.bytes("tensor_type.shape")?)?, "tensor_type.shape")?,
                _ => {}
            }
        }
        Ok(())
    }
}

fn dims(bytes: &[u8]) -> Result<Vec<Dim<'_>>, ModelError> {
    let mut dims = Vec::new();
    let mut fields = Fields::new(bytes);
    while let Some((number, value)) = fields.next()? {
        if number == 1 {
            dims.push(dim(value)?);
        }
    }
    Ok(dims)
}

fn dim(value: Value<'_>) -> Result<Dim<'_>, ModelError> {
    let mut dim = Dim::Unknown;
    let mut fields = Fields::new(value.bytes("shape.dim")?);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => dim = Dim::Fixed(value.int("dim_value")?),
            2 => dim = Dim::Named(value.text("dim_param")?),
            _ => {}
        }
    }
    Ok(dim)
}
