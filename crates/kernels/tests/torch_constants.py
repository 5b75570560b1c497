"""PyTorch's numbers for tests of modelyard-kernels: inputs are sin of their place, outputs are printed."""
import torch, torch.nn.functional as F
torch.set_num_threads(1)
def t(*shape, scale=1.0):
    n = 1
    for s in shape: n *= s
    return (torch.arange(n, dtype=torch.float64).mul(scale).sin()).float().reshape(shape)
def show(name, x): print(name, [float(f"{v:.9g}") for v in x.flatten()[:: max(1, x.numel() // 6)][:6].double().tolist()])
# convolution: x NHWC [2,5,6,3], w OHWI [4,3,2,3], stride (2,1), padding (1,2), dilation (1,2)
x = t(2,5,6,3, scale=0.7).permute(0,3,1,2).requires_grad_(); w = t(4,3,2,3, scale=1.3).permute(0,3,1,2).requires_grad_(); b = t(4, scale=2.0).requires_grad_()
x.retain_grad(); w.retain_grad()
y = F.conv2d(x, w, b, (2,1), (1,2), (1,2)); yn = y.permute(0,2,3,1)
dy = t(*yn.shape, scale=0.3)
dx, dw, db = torch.autograd.grad(yn, (x, w, b), dy)
print(yn.shape)
show("Y", yn.contiguous()); show("DX", dx.permute(0,2,3,1).contiguous()); show("DW", dw.permute(0,2,3,1).contiguous()); show("DB", db)
for name, cls, g in (("LSTM", torch.nn.LSTM, 4), ("GRU", torch.nn.GRU, 3)):
    T,B,I,H = 4,3,2,5
    m = cls(I,H)
    with torch.no_grad():
        m.weight_ih_l0.copy_(t(g*H,I,scale=0.7)); m.weight_hh_l0.copy_(t(g*H,H,scale=1.1)); m.bias_ih_l0.copy_(t(g*H,scale=0.5)); m.bias_hh_l0.copy_(t(g*H,scale=0.9))
    x = t(T,B,I,scale=1.7).requires_grad_()
    h0 = t(1,B,H,scale=0.4)
    y, _ = m(x, (h0, t(1,B,H,scale=0.6)) if name == "LSTM" else h0)
    gr = torch.autograd.grad(y, (x, m.weight_ih_l0, m.weight_hh_l0, m.bias_ih_l0, m.bias_hh_l0), t(T,B,H,scale=0.3))
    show(name+"_Y", y)
    for n, v in zip(("DX","DWI","DWH","DBI","DBH"), gr): show(name+"_"+n, v)
