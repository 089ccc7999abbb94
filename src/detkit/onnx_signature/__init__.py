"""How ONNX files of other tools are fed and read, by what they and a description say."""
