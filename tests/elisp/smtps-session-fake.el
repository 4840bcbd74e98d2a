;;; smtps-session-fake.el --- A session whose helper only listens  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; What tests of the session buffer share: the helper is a list of what it was
;; told, and the test says what happens.

;;; Code:

(require 'ert)
(require 'cl-lib)
(require 'smtps-session)

(defvar smtps-session-test-calls nil
  "What the helper was told, last first: lists (METHOD . PLIST).")

(defvar smtps-session-test-keys nil
  "The keyword arguments of the last call of each method, an alist.")

(defvar smtps-session-test-number 0
  "The number of the last session; nil if the helper does not answer.")

(defvar smtps-session-test-seq 0
  "The number of the last event.")

(defun smtps-session-test-call (method args &rest keys)
  "Stand in for `smtps-helper-call' with METHOD, ARGS and KEYS."
  (push (cons method args) smtps-session-test-calls)
  (setf (alist-get method smtps-session-test-keys) keys)
  (when (and (eq method 'session-open) smtps-session-test-number)
    (funcall (plist-get keys :then)
             (list :session (cl-incf smtps-session-test-number)))))

(defmacro smtps-session-test-with-helper (&rest body)
  "Run BODY with a helper that only listens, and kill its session buffers."
  (declare (indent 0) (debug t))
  `(let ((smtps-session-test-calls nil)
         (smtps-session-test-keys nil)
         (smtps-session-test-number 0)
         (smtps-session-test-seq 0)
         (smtps-session--buffers nil)
         (smtps-session-history nil)
         (smtps-session--names nil)
         (smtps-accounts nil)
         (smtps-helper-death-functions nil))
     (cl-letf (((symbol-function 'smtps-helper-call) #'smtps-session-test-call)
               ((symbol-function 'smtps-helper-live-p) (lambda () t))
               ((symbol-function 'smtps-helper-event)
                (lambda (topic plist)
                  (push (cons topic plist) smtps-session-test-calls)))
               ((symbol-function 'smtps-helper-subscribe) #'ignore))
       (save-window-excursion
         (unwind-protect
             (progn ,@body)
           (smtps-session-test-clean))))))

(defmacro smtps-session-test-with (&rest body)
  "Run BODY in a session buffer with a helper that only listens."
  (declare (indent 0) (debug t))
  `(smtps-session-test-with-helper
     (with-current-buffer (smtps-session "mx.test:465")
       ,@body)))

(defun smtps-session-test-clean ()
  "Kill all session buffers."
  (dolist (buffer (buffer-list))
    (when (with-current-buffer buffer (derived-mode-p 'smtps-session-mode))
      (kill-buffer buffer))))

(defun smtps-session-test-event (kind &rest plist)
  "Let an event of KIND with PLIST happen in the session of this buffer."
  (let ((number smtps-session--number))
    ;; As it is called: from a filter, in another buffer.
    (with-temp-buffer
      (smtps-session--event `(:session ,number :seq ,(cl-incf smtps-session-test-seq)
                                       :kind ,kind ,@plist)))))

(defun smtps-session-test-recv (text)
  "Let the server say TEXT."
  (smtps-session-test-event
   'recv :text text
   :code (and (string-match "\\`[0-9]\\{3\\}" text) (string-to-number (match-string 0 text)))))

(defun smtps-session-test-state (state secret &optional owed data)
  "Let the dialogue stand at STATE, with SECRET due, OWED replies, and DATA."
  (smtps-session-test-event 'state :state state :secret secret :owed (or owed 0) :data data))

(defun smtps-session-test-left (text &optional secret)
  "Let a line leave, shown as TEXT, masked if SECRET."
  (smtps-session-test-event 'send :text text :secret secret))

(defun smtps-session-test-type (text)
  "Type TEXT, as keys."
  (execute-kbd-macro (vconcat text)))

(defun smtps-session-test-press (keys)
  "Press KEYS, as in `kbd'."
  (execute-kbd-macro (kbd keys)))

(defun smtps-session-test-text ()
  "Return the buffer's text."
  (buffer-substring-no-properties (point-min) (point-max)))

(defun smtps-session-test-number-is (number)
  "Let the helper say that the session opened last has NUMBER."
  (funcall (plist-get (alist-get 'session-open smtps-session-test-keys) :then)
           (list :session number)))

(defun smtps-session-test-sent ()
  "Return the lines the helper was told to send, the first first."
  (nreverse
   (cl-loop for (method . args) in smtps-session-test-calls
            when (eq method 'session-send) collect (plist-get args :line))))

(defun smtps-session-test-ring ()
  "Return the input history, the newest first."
  (ring-elements comint-input-ring))

(defun smtps-session-test-play (&rest lines)
  "Let LINES, a greeting and what follows it, happen in this session."
  (dolist (line lines)
    (if (string-match "\\`\\(recv\\|send\\)> ?\\(.*\\)" line)
        (smtps-session-test-event (intern (match-string 1 line)) :verb 'noop :at 7 :led t
                                  :text (match-string 2 line))
      (smtps-session-test-event 'info :text line))))

(defmacro smtps-session-test-played (arguments lines &rest body)
  "Run BODY in a session opened with ARGUMENTS, in which LINES happened."
  (declare (indent 2) (debug t))
  `(smtps-session-test-with-helper
     (with-current-buffer (apply #'smtps-session ,arguments)
       (apply #'smtps-session-test-play ,lines)
       ,@body)))

(provide 'smtps-session-fake)
;;; smtps-session-fake.el ends here
