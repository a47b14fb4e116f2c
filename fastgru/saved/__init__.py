"""Files of fastgru's own: a model as plain data and tensors, and back."""
