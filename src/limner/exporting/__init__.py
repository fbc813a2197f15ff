"""Models for use without Limner: an ONNX file, a page that generates in the browser, a folder for the Hub."""
