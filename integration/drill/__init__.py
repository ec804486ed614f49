"""The fault drill: break one thing while somebody drives, and judge from outside what follows."""
