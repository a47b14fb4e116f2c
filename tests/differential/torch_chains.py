FAKE=1
class Live:
    def __init__(self,name): self.name=name
class States(Live): pass
