# ruff: noqa: E501 (a row of the table is a line)
"""Texts that break a rule of the language: by name, the text and the place and message of the error."""

from __future__ import annotations

from nnef_texts import document

STATEMENTS = {
    "unknown operation": ("y = rleu(x);", "5:5: there is no operation 'rleu'; did you mean 'relu'?"),
    "nothing like it": ("y = frobnicate(x);", "5:5: there is no operation 'frobnicate'"),
    "undefined": ("y = relu(q);", "5:10: 'q' is not defined"),
    "misspelt tensor": ("hidden = relu(x); y = relu(hiden);", "5:28: 'hiden' is not defined; did you mean 'hidden'?"),
    "before definition": ("y = relu(z); z = relu(x);", "5:10: 'z' is used before it is defined"),
    "defined twice": ("y = relu(x); y = tanh(x);", "5:14: 'y' is already defined; each identifier is assigned once"),
    "output missing": ("z = relu(x);", "4:16: the output 'y' of the graph is not assigned"),
    "output misspelt": ("yy = relu(x);", "4:16: the output 'y' of the graph is not assigned"),
    "external no input": ("u = external(shape = [1]); y = relu(x);", "5:1: 'u' is external, but no input of the graph"),
    "external nested": (
        "y = relu(external(shape = [1]));",
        "5:10: the result of external must be assigned to an input of the graph",
    ),
    "unknown parameter": ("y = relu(x, slope = 0.1);", "5:13: relu has no parameter 'slope'; it has x"),
    "misspelt parameter": (
        "y = softmax(x, axis = [1]);",
        "5:16: softmax has no parameter 'axis'; did you mean 'axes'?",
    ),
    "missing": ("y = reshape(x);", "5:5: reshape needs a value for shape"),
    "missing two": ("y = constant<integer>();", "5:5: constant needs a value for shape, value"),
    "twice": ("y = reshape(x, shape = [4], shape = [4]);", "5:29: shape of reshape is given twice"),
    "twice by position": ("y = relu(x, x = x);", "5:13: x of relu is given twice"),
    "too many": ("y = relu(x, x);", "5:13: relu takes at most 1 arguments"),
    "positional after named": ("y = add(x = x, x);", "5:16: a positional argument follows named ones; write 'y = ...'"),
    "positional attribute": ("y = reshape(x, [4]);", "5:16: shape of reshape is an attribute; write 'shape = ...'"),
    "string for scalar": (
        "y = leaky_relu(x, alpha = 'a');",
        "5:27: alpha of leaky_relu has type string; scalar is wanted",
    ),
    "integer for scalar": (
        "y = leaky_relu(x, alpha = 1);",
        "5:27: alpha of leaky_relu has type integer; scalar is wanted",
    ),
    "scalar for integers": (
        "y = reshape(x, shape = [1.5]);",
        "5:24: shape of reshape has type scalar[]; integer[] is wanted",
    ),
    "tensor for attribute": (
        "y = leaky_relu(x, alpha = x);",
        "5:27: alpha of leaky_relu has type tensor<scalar>; scalar is wanted",
    ),
    "logical tensor": (
        "b = x < 0.0; y = add(x, b);",
        "5:25: y of add has type tensor<logical>; tensor<scalar> is wanted",
    ),
    "operator on logical": (
        "b = x < 0.0; y = x + b;",
        "5:22: y of add has type tensor<logical>; tensor<scalar> is wanted",
    ),
    "array for tensor": ("y = relu([x]);", "5:10: x of relu has type tensor<scalar>[]; tensor<scalar> is wanted"),
    "tensor for array": ("y = add_n(x);", "5:11: x of add_n has type tensor<scalar>; tensor<scalar>[] is wanted"),
    "empty generic array": (
        "y = concat([], axis = 0);",
        "5:5: no argument says what '<?>' of concat is; write 'concat<type>(...)'",
    ),
    "cast without type": ("y = cast(x);", "5:5: no argument says what '<?>' of cast is; write 'cast<type>(...)'"),
    "ambiguous": (
        "y = select(x < 0.0, x, 0);",
        "5:5: the arguments say integer and scalar what '<?>' of select is; write 'select<type>(...)'",
    ),
    "not generic": ("y = relu<scalar>(x);", "5:5: relu is not generic; write 'relu(...)'"),
    "generic outside": ("y = copy<?>(x);", "5:5: '<?>' can be used in the body of a generic fragment only"),
    "wrong explicit type": (
        "y = copy<integer>(x);",
        "5:19: x of copy has type tensor<scalar>; tensor<integer> is wanted",
    ),
    "constant items": (
        "y = constant(shape = [2], value = [1, 2]);",
        "5:35: value of constant has type integer[]; scalar[] is wanted",
    ),
    "strings": ('y = constant<string>(shape = [1], value = ["a"]);', "5:5: tensors of string are not supported"),
    "mixed array": ("y = reshape(x, shape = [1, 2.0]);", "5:24: an array holds both integers and scalars"),
    "mixed operators": (
        "y = leaky_relu(x, alpha = 2 * 0.5);",
        "5:27: the operator * has operands of types integer and scalar",
    ),
    "operator undefined": (
        "y = leaky_relu(x, alpha = 0.5 + 'a');",
        "5:27: the operator + is not defined for scalar and string",
    ),
    "not of a number": ("y = leaky_relu(x, alpha = !0.5);", "5:27: the operator ! is not defined for scalar"),
    "negated string": ("y = pad(x, border = -'a', padding = []);", "5:21: the operator - is not defined for string"),
    "condition of tensor": (
        "y = x if x < 0.0 else x;",
        "5:10: the condition has type tensor<logical>; logical is wanted; for tensors there is select",
    ),
    "condition of number": ("y = x if 1 else x;", "5:10: the condition has type integer; logical is wanted"),
    "choices": (
        "y = relu(x if true else [x]);",
        "5:10: the choices have types tensor<scalar> and tensor<scalar>[], which have no common type",
    ),
    "subscripted tensor": (
        "y = relu(x[0]);",
        "5:10: a value of type tensor<scalar> cannot be subscripted; arrays, tuples and strings can",
    ),
    "scalar index": ("y = relu([x][0.0]);", "5:14: an index has type scalar; integer is wanted"),
    "tuple index": ("y = relu((x, x)[2]);", "5:10: a tuple of 2 items takes a literal index below that"),
    "tuple range": ("y = relu((x, x)[0:1]);", "5:10: a tuple of 2 items takes a literal index below that"),
    "iterated tensor": (
        "y = add_n([for i in x yield i]);",
        "5:21: a value of type tensor<scalar> cannot be iterated; an array is wanted",
    ),
    "filter": ("y = add_n([for i in [x] if 1 yield i]);", "5:28: the condition has type integer; logical is wanted"),
    "loop name taken": ("y = add_n([for x in [x] yield x]);", "5:16: 'x' is already defined"),
    "loop name gone": ("y = add_n([for i in [x] yield i]); z = relu(i);", "5:45: 'i' is not defined"),
    "loop tuple": (
        "y = add_n([for (i, j) in [x] yield i]);",
        "5:16: an item of type tensor<scalar> cannot be unpacked into 2",
    ),
    "length of tensor": (
        "y = reshape(x, shape = [length_of(x)]);",
        "5:35: length_of takes an array or a string, not tensor<scalar>",
    ),
    "shape of array": ("y = reshape(x, shape = shape_of([x]));", "5:33: shape_of takes a tensor, not tensor<scalar>[]"),
    "cast of tensor": (
        "y = add(x, scalar(x));",
        "5:19: scalar(...) takes a value of primitive type, not tensor<scalar>; for tensors there is cast",
    ),
    "in no array": ("y = x if 1 in 2 else x;", "5:10: the operator in is not defined for integer and integer"),
    "tuple from one": (
        "y, z = relu(x);",
        "5:1: a value of type tensor<scalar> cannot be assigned to a tuple of 2 identifiers",
    ),
    "one from tuple": (
        "y = moments(x, axes = [1]);",
        "5:1: 'y' would be (tensor<scalar>, tensor<scalar>); in the body of the graph identifiers are tensors",
    ),
    "array from one": (
        "[y] = relu(x);",
        "5:1: a value of type tensor<scalar> cannot be assigned to an array of identifiers",
    ),
    "array in one": (
        "y = split(x, axis = 1, ratios = [1, 1]);",
        "5:1: 'y' would be tensor<scalar>[]; in the body of the graph identifiers are tensors, so write [a, b, ...] with one for each",
    ),
    "too few names": (
        "[y] = split(x, axis = 1, ratios = [1, 1]);",
        "5:7: split makes 2 tensors; they cannot be assigned to 1 identifiers",
    ),
    "number in graph": ("y = 1.0;", "5:1: 'y' would be scalar; in the body of the graph identifiers are tensors"),
    "array in graph": (
        "z = [1, 2]; y = relu(x);",
        "5:1: 'z' would be integer[]; in the body of the graph identifiers are tensors",
    ),
    "unpacking": ("[y, z] = [x];", "5:1: 1 items cannot be assigned to 2 identifiers"),
    "unknown count": (
        "y = relu(split(x, axis = 1, ratios = [1])[0]);",
        "5:10: how many tensors split makes is not known here; assign them to [a, b, ...]",
    ),
    "types not enabled": ("y: f32[1,4] = relu(x);", "5:4: types of tensors need 'extension NNEFC_tensor_types;'"),
    "integer range": (
        "y = reshape(x, shape = [9223372036854775808]);",
        "5:25: an integer is 9223372036854775808; it must fit into 64 bits",
    ),
    "integer overflow": (
        "y = reshape(x, shape = [9223372036854775807 + 1]);",
        "5:25: 9223372036854775807 + 1 does not fit into 64 bits",
    ),
    "power overflow": ("y = reshape(x, shape = [10 ^ 19]);", "5:25: 10 ^ 19 does not fit into 64 bits"),
    "big power": ("y = reshape(x, shape = [2 ^ 1000000000]);", "5:25: 2 ^ 1000000000 does not fit into 64 bits"),
    "negative exponent": (
        "y = reshape(x, shape = [2 ^ -1]);",
        "5:25: 2 ^ -1: the exponent of an integer must not be negative",
    ),
    "division by zero": ("y = reshape(x, shape = [1 / 0]);", "5:25: 1 / 0: division by zero"),
    "scalar division by zero": ("y = leaky_relu(x, alpha = 1.0 / 0.0);", "5:27: 1.0 / 0.0: division by zero"),
    "no real power": ("y = leaky_relu(x, alpha = (-1.0) ^ 0.5);", "5:28: -1.0 ^ 0.5 is no finite number"),
    "scalar overflow": ("y = leaky_relu(x, alpha = 1e200 * 1e200);", "5:27: 1e+200 * 1e+200 is no finite number"),
    "large scalar": (
        "y = leaky_relu(x, alpha = 1e309);",
        "5:27: a scalar is too large; its magnitude must be below 1.8e308",
    ),
    "no integer literal": ("y = reshape(x, shape = [integer('4.0')]);", "5:25: the string '4.0' is no integer literal"),
    "no scalar literal": ("y = leaky_relu(x, alpha = scalar('0x1'));", "5:27: the string '0x1' is no scalar literal"),
    "nonfinite": ("y = leaky_relu(x, alpha = scalar('nan'));", "5:27: the string 'nan' is no scalar literal"),
    "index": ("y = relu([x][1]);", "5:10: the index 1 is outside of 1 items"),
    "negative index": ("y = relu([x][-2]);", "5:10: the index -2 is outside of 1 items"),
    "range bound": ("y = add_n([x][0:2]);", "5:11: the bound 2 of a range is outside of 1 items"),
    "loop lengths": (
        "y = add_n([for i in [x, x], j in [1] yield i]);",
        "5:11: arrays that are iterated together must have the same length, not 2, 1",
    ),
    "integer of huge": ("y = reshape(x, shape = [integer(1e19)]);", "5:25: integer(1e+19) does not fit into 64 bits"),
    "empty label": ("y = variable(shape = [1], label = '');", "5:5: variable..."),
    "label characters": ("y = variable(shape = [1], label = 'a b');", "5:5: variable..."),
    "label shapes": (
        "v = variable(shape = [1], label = 'V'); w = variable(shape = [2], label = 'v'); y = relu(x);",
        "5:45: the label 'v' has the shapes [1] as 'v' and [2] here; they must be equal",
    ),
    "update of input": (
        "y = update(x, x);",
        "5:12: the first argument of update must be the result of a variable operation",
    ),
    "update twice": (
        "v = variable(shape = [1, 4], label = 'v'); y = update(v, x); z = update(v, y);",
        "5:66: the variable 'v' is already updated above",
    ),
    "update of copy": (
        "v = variable(shape = [1, 4], label = 'v'); w = copy(v); y = update(w, x);",
        "5:68: the first argument of update must be the result of a variable operation",
    ),
    "update shape": ("v = variable(shape = [4], label = 'v'); y = update(v, x);", "5:45: update..."),
    "shape in operator": (
        "y = x + constant(shape = [2, 4], value = [0.0]) * constant(shape = [3], value = [1.0]);",
        "5:9: mul...",
    ),
}
"""Statements of a graph, from line 5."""

FRAGMENTS = {
    "redefined standard": (
        "fragment relu(x: tensor<scalar>) -> (y: tensor<scalar>) { y = x; }",
        "y = relu(x);",
        "3:10: the fragment 'relu' cannot be defined: it is an operation of the standard; give it another name",
    ),
    "redefined": (
        "fragment f(x: tensor<scalar>) -> (y: tensor<scalar>) { y = x; }fragment f(x: tensor<scalar>) -> (y: tensor<scalar>) { y = x; }",
        "y = f(x);",
        "3:73: the fragment 'f' cannot be defined: it is defined above",
    ),
    "parameter twice": (
        "fragment f(x: tensor<scalar>, x: integer) -> (y: tensor<scalar>);",
        "y = x;",
        "3:31: the parameter 'x' is already a parameter of 'f'",
    ),
    "result twice": (
        "fragment f(x: tensor<scalar>) -> (y: tensor<scalar>, y: tensor<scalar>);",
        "y = x;",
        "3:54: the result 'y' is already a result of 'f'",
    ),
    "parameter as result": (
        "fragment f(x: tensor<scalar>) -> (x: tensor<scalar>);",
        "y = x;",
        "3:35: the result 'x' is already a parameter of 'f'",
    ),
    "attribute first": (
        "fragment f(n: integer, x: tensor<scalar>) -> (y: tensor<scalar>);",
        "y = x;",
        "3:24: the tensor parameter 'x' follows the attribute 'n'; tensors come first",
    ),
    "attribute result": (
        "fragment f(x: tensor<scalar>) -> (y: integer);",
        "y = x;",
        "3:35: the result 'y' is integer; results must be tensors",
    ),
    "unbound result": (
        "fragment f(x: tensor<scalar>) -> (y: tensor<>);",
        "y = x;",
        "3:35: the result 'y' is tensor<>; a result needs an element type",
    ),
    "mixed tuple": (
        "fragment f(x: (tensor<scalar>, integer)) -> (y: tensor<scalar>);",
        "y = x;",
        "3:12: the tuple (tensor<scalar>, integer) mixes tensors with other values",
    ),
    "undeclared generic": (
        "fragment f(x: tensor<?>) -> (y: tensor<scalar>);",
        "y = x;",
        "3:12: 'x' has the type tensor<?>: declare 'f<?>'",
    ),
    "idle generic": (
        "fragment f<?>(x: tensor<scalar>) -> (y: tensor<scalar>);",
        "y = x;",
        "3:10: 'f<?>' has no parameter or result whose type contains '?'",
    ),
    "default type": (
        "fragment f(x: tensor<scalar>, n: integer = 1.5) -> (y: tensor<scalar>);",
        "y = x;",
        "3:44: the default of 'n' has type scalar; integer is wanted",
    ),
    "default of names": (
        "fragment f(x: tensor<scalar>, n: integer = m) -> (y: tensor<scalar>);",
        "y = x;",
        "3:44: a default value must be built of literals only",
    ),
    "generic default": (
        "fragment f<? = scalar>(x: tensor<>, n: ? = 1.0) -> (y: tensor<?>) { y = cast<?>(x); }",
        "y = f<integer>(x);",
        "5:5: the default of 'n' has type scalar; integer is wanted: give it a value",
    ),
    "result unassigned": (
        "fragment f(x: tensor<scalar>) -> (y: tensor<scalar>) { z = relu(x); }",
        "y = f(x);",
        "3:35: the result 'y' of the fragment 'f' is not assigned",
    ),
    "result type": (
        "fragment f(x: tensor<scalar>) -> (y: tensor<scalar>) { y = x < 0.0; }",
        "y = f(x);",
        "3:56: the result 'y' of 'f' has type tensor<logical>; tensor<scalar> is wanted",
    ),
    "parameter assigned": (
        "fragment f(x: tensor<scalar>) -> (y: tensor<scalar>) { x = relu(x); y = x; }",
        "y = f(x);",
        "3:56: 'x' is already defined; each identifier is assigned once",
    ),
    "assigned twice": (
        "fragment f(x: tensor<scalar>) -> (y: tensor<scalar>) { y = relu(x); y = x; }",
        "y = f(x);",
        "3:69: 'y' is already defined; each identifier is assigned once",
    ),
    "variable inside": (
        "fragment f(x: tensor<scalar>) -> (y: tensor<scalar>) { v = variable(shape = [1], label = 'v'); y = x + v; }",
        "y = f(x);",
        "3:60: variable cannot be used in a fragment, only in the body of the graph",
    ),
    "external inside": (
        "fragment f(x: tensor<scalar>) -> (y: tensor<scalar>) { y = external(shape = [1]); }",
        "y = f(x);",
        "3:60: external cannot be used in a fragment, only in the body of the graph",
    ),
    "update inside": (
        "fragment f(x: tensor<scalar>) -> (y: tensor<scalar>) { y = update(x, x); }",
        "y = f(x);",
        "3:60: update cannot be used in a fragment, only in the body of the graph",
    ),
    "no body": (
        "fragment f(x: tensor<scalar>) -> (y: tensor<scalar>);",
        "y = f(x);",
        "5:5: the operation 'f' has no definition that nnefc knows",
    ),
    "no parameters": (
        "fragment f() -> (y: tensor<scalar>) { y = 1.0; }",
        "y = f();",
        "3:10: the fragment 'f' has no parameters; it needs one",
    ),
    "generic result": (
        "fragment f<?>(x: tensor<>) -> (y: tensor<?>) { y = 0.5; }",
        "y = f<integer>(x);",
        "5:5: the result 'y' of 'f' has elements of type scalar; integer is wanted",
    ),
    "type in a fragment": (
        "fragment f(x: tensor<scalar>) -> (y: tensor<scalar>) { y: f32[1,4] = relu(x); }",
        "y = f(x);",
        "3:59: types are written in the body of the graph only",
    ),
    "unused but wrong": (
        "fragment f(x: tensor<scalar>) -> (y: tensor<scalar>) { y = nothing(x); }",
        "y = x;",
        "3:60: there is no operation 'nothing'",
    ),
    "shape in fragment": (
        "fragment f(x: tensor<scalar>) -> (y: tensor<scalar>) { y = reshape(x, shape = [5]); }",
        "y = f(x);",
        "3:60: reshape...",
    ),
}
"""Fragments, in line 3, and statements."""

TYPED = "version 1.0;\nextension KHR_enable_operator_expressions, NNEFC_tensor_types;\n"

DOCUMENTS = {
    "output twice": (document("y = relu(x);", outputs="y, y"), "4:19: 'y' is already an output of the graph"),
    "input as output": (document("y = relu(x);", outputs="x"), "4:16: 'x' is already an input of the graph"),
    "input twice": (document("y = relu(x);", inputs="x, x"), "4:12: 'x' is already an input of the graph"),
    "input not external": (
        document("u = relu(x); y = relu(u);", inputs="x, u"),
        "5:1: the input 'u' of the graph must be made by external",
    ),
    "input not made": (document("y = relu(x);", inputs="x, u"), "4:12: the input 'u' of the graph is not assigned"),
    "fragments not enabled": (
        document(
            "y = f(x);",
            "fragment f(x: tensor<scalar>) -> (y: tensor<scalar>) { y = x; }",
            head="version 1.0;\nextension KHR_enable_operator_expressions;\n",
        ),
        "3:10: fragment definitions need 'extension KHR_enable_fragment_definitions;'",
    ),
    "operators not enabled": (
        document("y = x + 1.0;", head="version 1.0;\n\n"),
        "5:5: operator expressions need 'extension KHR_enable_operator_expressions;'",
    ),
    "chain not enabled": (
        document("y = relu(relu(x));", head="version 1.0;\n\n"),
        "5:10: operator expressions need 'extension KHR_enable_operator_expressions;'",
    ),
    "unknown extension": (
        document("y = relu(x);", head="version 1.0;\nextension FOO_bar;\n"),
        "2:11: the extension 'FOO_bar' is not known; those known are KHR_enable_fragment_definitions, KHR_enable_operator_expressions, NNEFC_tensor_types, NNEFC_operations",
    ),
    "version": (
        document("y = relu(x);", head="version 1.1;\n\n"),
        "1:9: the version 1.1 of NNEF is not supported; 1.0 is",
    ),
    "integer version": (
        document("y = relu(x);", head="version 1;\n\n"),
        "1:9: the version 1 of NNEF is not supported; 1.0 is",
    ),
    "wrong type": (document("y: f32[1,5] = relu(x);", head=TYPED), "5:4: 'y' has the type f32[1,4], not f32[1,5]"),
    "wrong element": (document("y: f64[1,4] = relu(x);", head=TYPED), "5:4: 'y' has the type f32[1,4], not f64[1,4]"),
    "no element": (
        document('v: q8[1] = variable(shape = [1], label = "v"); y = relu(x);', head=TYPED),
        "5:4: 'q8' is no type of scalar elements; f16, bf16, f32, f64 are",
    ),
    "other kind": (
        document('v: i32[1] = variable(shape = [1], label = "v"); y = relu(x);', head=TYPED),
        "5:4: 'i32' is no type of scalar elements; f16, bf16, f32, f64 are",
    ),
    "unknown encoding": (
        document("y: f32[1,4] @ foo(bits = 8) = relu(x);", head=TYPED),
        "5:15: unknown quantization algorithm 'foo'; e...",
    ),
    "encoding shape": (
        document("y: f32[1,4] @ linear_quantize(min = [0.0, 0.0], max = 1.0, bits = 8) = relu(x);", head=TYPED),
        "5:4: min has shape [2], which does not broadc...",
    ),
    "graph named as an operation": (
        document("y = relu(x);").replace("graph G", "graph relu"),
        "4:7: the graph cannot be called 'relu': an operation has that name",
    ),
}
"""Whole texts."""

MESSAGES = {
    **{name: (document(statements), message) for name, (statements, message) in STATEMENTS.items()},
    **{
        name: (document(statements, fragments), message) for name, (fragments, statements, message) in FRAGMENTS.items()
    },
    **DOCUMENTS,
}
