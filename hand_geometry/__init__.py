"""Turns a picture of a hand into measurements, a reference and a comparison score; no name and no pupil is known here.

The way from frame to decision is one stage a file: ``silhouette`` (which pixels are hand, with ``foreign_colours`` and
``white_ground``), ``contour`` (its outline), ``landmarks`` (tips and valleys), ``measurements`` (lengths and widths),
``plausibility`` and ``quality`` (why not), ``posture`` (between pegs or free), ``acquisition`` (all of these in
order), ``reference`` (several samples become one), ``comparison`` (how far a probe lies from it) and
``reference_codec`` (its bytes). ``mask`` leaves fingers out, ``adaptation`` lets a reference follow a growing hand,
``policy`` says what a threshold means. All measuring of the measuring (``set_evaluation``, ``report``, simulations)
hangs under ``evaluate``. It may import ``canteen``, numpy and, alone in this project, cv2; rich only for ``evaluate``,
scikit-learn only inside ``discriminant``. Start reading at ``acquisition.acquire`` and then ``comparison.compare``.
"""
