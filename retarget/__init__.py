"""Human keypoints to hand joint targets. Pure functions: no I/O, no clock, no torch."""

from dexhil.retarget.build import Method as Method
from dexhil.retarget.build import Retargets as Retargets
from dexhil.retarget.build import chosen_method as chosen_method
from dexhil.retarget.build import make_retargeter as make_retargeter
from dexhil.retarget.errors import RetargetError as RetargetError
from dexhil.retarget.human import HumanHand as HumanHand
from dexhil.retarget.human import HumanProportions as HumanProportions
from dexhil.retarget.keypoints import palm_frame as palm_frame
from dexhil.retarget.keypoints import to_palm as to_palm
from dexhil.retarget.retargeter import RetargetConfig as RetargetConfig
from dexhil.retarget.retargeter import Retargeter as Retargeter
